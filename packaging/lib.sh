# shellcheck shell=sh
# What the builders of packages share; sourced with root and into set.

# A package says when its files are from: this checkout's last commit, so that it comes out the same each time.
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git -C "$root" log -1 --format=%ct 2>/dev/null || echo 0)}
export SOURCE_DATE_EPOCH

new_tree() { # an empty tree, removed at the end
    umask 022
    tree=$(mktemp -d)
    trap 'rm -rf "$tree"' EXIT
    chmod 755 "$tree"
}

copy() { # FROM TO: a directory, without what Python leaves in it
    mkdir -p "$2"
    (cd "$1" && tar --exclude=__pycache__ --exclude='*~' --exclude='.*.sw?' -cf - .) | (cd "$2" && tar --no-same-owner -xf -)
}

metadata() { # NAME VERSION DIRECTORY: by which pip and importlib.metadata know what is there
    mkdir -p "$3/$1-$2.dist-info"
    printf 'Metadata-Version: 2.1\nName: %s\nVersion: %s\n' "$1" "$2" >"$3/$1-$2.dist-info/METADATA"
    echo dpkg >"$3/$1-$2.dist-info/INSTALLER"
}

debian_version() { # VERSION: 1.0rc1 and 1.0.dev1 come before 1.0
    printf '%s\n' "$1" | sed -E 's/(\.dev|a|b|rc)([0-9]+)/~\1\2/; s/~\./~/'
}

pack() { # TEMPLATES NAME VERSION ARCHITECTURE: the tree, with control and maintainer scripts
    mkdir -p "$tree/DEBIAN" "$into"
    for file in control postinst prerm postrm; do
        [ -e "$1/$file" ] || continue
        sed "s/@VERSION@/$3/; s/@ARCHITECTURE@/$4/; s/@INSTALLED_SIZE@/$(du -sk --apparent-size "$tree" | cut -f1)/" \
            "$1/$file" >"$tree/DEBIAN/$file"
        [ "$file" = control ] || chmod 755 "$tree/DEBIAN/$file"
    done
    (cd "$tree" && find . -type f ! -path './DEBIAN/*' -printf '%P\0' | sort -z | xargs -0 md5sum >DEBIAN/md5sums)
    chmod -R go-w "$tree"
    dpkg-deb --root-owner-group --build "$tree" "$into/$2_$3_$4.deb" >/dev/null
    echo "$into/$2_$3_$4.deb"
}
