/* Joins the guest's tap to a Linux bridge that is there already. In C: no library, no process but its own.
 *
 *   cc -O2 -o bridge-c examples/bridge-c.c
 *
 * The environment says all that it needs, so the request on standard input stays unread.
 */
#include <errno.h>
#include <linux/if_bridge.h>
#include <net/if.h>
#include <linux/sockios.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sysexits.h>

static const char info[] =
    "{\"name\": \"bridge-c\", \"version\": \"1\", \"verbs\": [\"plug\", \"unplug\"], \"vif_types\": [\"ethernet\"],"
    " \"details_schema\": {\"type\": \"object\", \"required\": [\"bridge\"], \"properties\": {\"bridge\":"
    " {\"type\": \"string\", \"description\": \"the bridge to join\"}}}}";

/* Standard error says what went wrong, the exit status of which kind it is (docs/contract.md). */
static int failed(int status, const char *what, const char *which)
{
    fprintf(stderr, "bridge-c: %s %s: %s\n", what, which, strerror(errno));
    return status;
}

/* One of the kernel's calls about a device; `about` is another device's number, or flags. */
static int device(int sock, unsigned long call, const char *name, int about)
{
    struct ifreq request = {0};

    snprintf(request.ifr_name, IFNAMSIZ, "%s", name);
    if (call == SIOCSIFFLAGS)
        request.ifr_flags = (short)about;
    else
        request.ifr_ifindex = about;
    return ioctl(sock, call, &request);
}

static int is_port(int sock, const char *bridge, int tap)
{
    static int ports[1024];
    unsigned long ask[] = {BRCTL_GET_PORT_LIST, (unsigned long)ports, 1024};
    struct ifreq request = {.ifr_data = (char *)ask};

    snprintf(request.ifr_name, IFNAMSIZ, "%s", bridge);
    if (ioctl(sock, SIOCDEVPRIVATE, &request) < 0)
        return 0;
    for (int i = 0; i < 1024; i++)
        if (ports[i] == tap)
            return 1;
    return 0;
}

int main(int argc, char **argv)
{
    const char *verb = argc == 2 ? argv[1] : "";
    const char *tap = getenv("VIF_DEVNAME"), *bridge = getenv("VIF_DETAILS_BRIDGE");
    int plug = strcmp(verb, "plug") == 0;

    if (strcmp(verb, "info") == 0)
        return puts(info) < 0;
    if (!plug && strcmp(verb, "unplug") != 0)
        return EX_USAGE; /* whatever it is, this script does not have it */

    int sock = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    int number = tap ? (int)if_nametoindex(tap) : 0;
    int joined = number && bridge && is_port(sock, bridge, number);

    if (!plug) /* what is gone, or was never joined, is unplugged */
        return joined && device(sock, SIOCBRDELIF, bridge, number) < 0 ? failed(1, "cannot leave", bridge) : 0;
    if (!bridge || !*bridge) {
        fputs("bridge-c: vif_details.bridge is missing\n", stderr);
        return EX_DATAERR;
    }
    if (!number)
        return failed(1, "no device", tap ? tap : "");
    if (!joined && device(sock, SIOCBRADDIF, bridge, number) < 0)
        return failed(errno == ENODEV ? EX_UNAVAILABLE : 1, "cannot join", bridge);
    return device(sock, SIOCSIFFLAGS, tap, IFF_UP) < 0 ? failed(1, "cannot bring up", tap) : 0;
}
