-- a ledger as vifplug before version 2 of its schema wrote it: three VIFs plugged, three in the middle, one debt
BEGIN TRANSACTION;
CREATE TABLE call (
        number INTEGER PRIMARY KEY,
        vif_id TEXT NOT NULL,
        started REAL NOT NULL,
        record TEXT NOT NULL
    );
INSERT INTO "call" VALUES(1,'00000001-7d5e-4f0a-9c55-2f7a3c1d9e01',1763000000.0,'{"vif_id":"00000001-7d5e-4f0a-9c55-2f7a3c1d9e01","generation":1,"verb":"plug","script":"linux-bridge","digest":"sha256:0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f","attempt":1,"started":1763000000.0,"seconds":0.25,"outcome":"done","exit_status":0,"signal":null,"message":null,"reply":{"vif":{"mtu":1400}},"stderr":"made br-data\n","traceparent":"00-abababababababababababababababab-cdcdcdcdcdcdcdcd-01","ran":true}');
INSERT INTO "call" VALUES(2,'00000004-7d5e-4f0a-9c55-2f7a3c1d9e01',1763000000.0,'{"vif_id":"00000004-7d5e-4f0a-9c55-2f7a3c1d9e01","generation":4,"verb":"plug","script":"linux-bridge","digest":"sha256:0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f","attempt":1,"started":1763000000.0,"seconds":0.25,"outcome":"done","exit_status":0,"signal":null,"message":null,"reply":{"vif":{"mtu":1400}},"stderr":"made br-data\n","traceparent":"00-abababababababababababababababab-cdcdcdcdcdcdcdcd-01","ran":true}');
INSERT INTO "call" VALUES(3,'00000006-7d5e-4f0a-9c55-2f7a3c1d9e01',1763000000.0,'{"vif_id":"00000006-7d5e-4f0a-9c55-2f7a3c1d9e01","generation":6,"verb":"unplug","script":"linux-bridge","digest":"sha256:0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f","attempt":1,"started":1763000000.0,"seconds":0.25,"outcome":"done","exit_status":0,"signal":null,"message":null,"reply":{"vif":{"mtu":1400}},"stderr":"made br-data\n","traceparent":"00-abababababababababababababababab-cdcdcdcdcdcdcdcd-01","ran":true}');
CREATE TABLE info (digest TEXT PRIMARY KEY, reply TEXT NOT NULL) WITHOUT ROWID;
INSERT INTO "info" VALUES('sha256:0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f','{"info":{"name":"linux-bridge","verbs":["plug","unplug"]}}');
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
INSERT INTO "meta" VALUES('generation','7');
INSERT INTO "meta" VALUES('id','0a888095');
CREATE TABLE resident (mark TEXT PRIMARY KEY, owner TEXT NOT NULL) WITHOUT ROWID;
INSERT INTO "resident" VALUES('2116372984:2128525338:4538387bc9cbdd3d869a61f871fbaaa4','1 1');
CREATE TABLE vif (
        id TEXT NOT NULL,
        generation INTEGER NOT NULL,
        state TEXT NOT NULL,
        devname TEXT NOT NULL,
        request TEXT NOT NULL,       -- what the caller asked for
        vif TEXT NOT NULL,           -- the same with the script's reply folded in
        next_request TEXT,           -- of an update in progress
        script TEXT,
        reply TEXT,
        master TEXT,                 -- the device's master when it was plugged
        boot_id TEXT NOT NULL,
        mark TEXT,                   -- what the processes of the verb in progress carry
        attempts INTEGER NOT NULL DEFAULT 0,
        error TEXT,
        created REAL NOT NULL,
        changed REAL NOT NULL,
        PRIMARY KEY (id, generation)
    ) WITHOUT ROWID;
INSERT INTO "vif" VALUES('00000001-7d5e-4f0a-9c55-2f7a3c1d9e01',1,'plugged','tap00000001-7d','{"address":"fa:16:3e:00:00:01","details":{"bridge":"br-data"},"devname":"tap00000001-7d","id":"00000001-7d5e-4f0a-9c55-2f7a3c1d9e01","instance":{},"network":{},"plug_script":"linux-bridge","shape":{"type":"ethernet"}}','{"address":"fa:16:3e:00:00:01","details":{"bridge":"br-data"},"devname":"tap00000001-7d","id":"00000001-7d5e-4f0a-9c55-2f7a3c1d9e01","instance":{},"mtu":1400,"network":{},"plug_script":"linux-bridge","shape":{"type":"ethernet"}}',NULL,'{"name":"linux-bridge","path":"/usr/lib/vifplug/scripts/linux-bridge","digest":"sha256:0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f"}','{"mtu":1400}','br-data','11111111-2222-3333-4444-555555555555',NULL,0,NULL,1.79535516100873541829e+09,1.7953551610099489689e+09);
INSERT INTO "vif" VALUES('00000002-7d5e-4f0a-9c55-2f7a3c1d9e01',2,'plugged','tap00000002-7d','{"address":"fa:16:3e:00:00:02","details":{"bridge":"br-data"},"devname":"tap00000002-7d","id":"00000002-7d5e-4f0a-9c55-2f7a3c1d9e01","instance":{},"network":{},"plug_script":"linux-bridge","shape":{"type":"ethernet"}}','{"address":"fa:16:3e:00:00:02","details":{"bridge":"br-data"},"devname":"tap00000002-7d","id":"00000002-7d5e-4f0a-9c55-2f7a3c1d9e01","instance":{},"network":{},"plug_script":"linux-bridge","shape":{"type":"ethernet"}}',NULL,NULL,'{}',NULL,'11111111-2222-3333-4444-555555555555',NULL,0,NULL,1.79535516101056933399e+09,1.79535516101879262917e+09);
INSERT INTO "vif" VALUES('00000003-7d5e-4f0a-9c55-2f7a3c1d9e01',3,'plugging','tap00000003-7d','{"address":"fa:16:3e:00:00:03","details":{"bridge":"br-data"},"devname":"tap00000003-7d","id":"00000003-7d5e-4f0a-9c55-2f7a3c1d9e01","instance":{},"network":{},"plug_script":"linux-bridge","shape":{"type":"ethernet"}}','{"address":"fa:16:3e:00:00:03","details":{"bridge":"br-data"},"devname":"tap00000003-7d","id":"00000003-7d5e-4f0a-9c55-2f7a3c1d9e01","instance":{},"network":{},"plug_script":"linux-bridge","shape":{"type":"ethernet"}}',NULL,'{"name":"linux-bridge","path":"/usr/lib/vifplug/scripts/linux-bridge","digest":"sha256:0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f"}','{}',NULL,'11111111-2222-3333-4444-555555555555','2115290847:2121468276:fcdb71311fa007536580654dc869343f',0,NULL,1.79535516102250838283e+09,1.79535516102250838283e+09);
INSERT INTO "vif" VALUES('00000004-7d5e-4f0a-9c55-2f7a3c1d9e01',4,'updating','tap00000004-7d','{"address":"fa:16:3e:00:00:04","details":{"bridge":"br-data"},"devname":"tap00000004-7d","id":"00000004-7d5e-4f0a-9c55-2f7a3c1d9e01","instance":{},"network":{},"plug_script":"linux-bridge","shape":{"type":"ethernet"}}','{"address":"fa:16:3e:00:00:04","details":{"bridge":"br-data"},"devname":"tap00000004-7d","id":"00000004-7d5e-4f0a-9c55-2f7a3c1d9e01","instance":{},"network":{},"plug_script":"linux-bridge","shape":{"type":"ethernet"}}','{"address":"fa:16:3e:00:00:04","details":{"bridge":"br-data"},"devname":"tap00000004-7d","id":"00000004-7d5e-4f0a-9c55-2f7a3c1d9e01","instance":{},"mtu":1300,"network":{},"plug_script":"linux-bridge","shape":{"type":"ethernet"}}','{"name":"linux-bridge","path":"/usr/lib/vifplug/scripts/linux-bridge","digest":"sha256:0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f"}','{}','br-data','11111111-2222-3333-4444-555555555555','2125425638:2121873777:c55299c5bdb5cbcc081ca8baeeda2936',0,NULL,1.79535516102563786505e+09,1.79535516104569864274e+09);
INSERT INTO "vif" VALUES('00000005-7d5e-4f0a-9c55-2f7a3c1d9e01',5,'unplugging','tap00000005-7d','{"address":"fa:16:3e:00:00:05","details":{"bridge":"br-data"},"devname":"tap00000005-7d","id":"00000005-7d5e-4f0a-9c55-2f7a3c1d9e01","instance":{},"network":{},"plug_script":"linux-bridge","shape":{"type":"ethernet"}}','{"address":"fa:16:3e:00:00:05","details":{"bridge":"br-data"},"devname":"tap00000005-7d","id":"00000005-7d5e-4f0a-9c55-2f7a3c1d9e01","instance":{},"network":{},"plug_script":"linux-bridge","shape":{"type":"ethernet"}}',NULL,'{"name":"linux-bridge","path":"/usr/lib/vifplug/scripts/linux-bridge","digest":"sha256:0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f"}','{}','br-data','11111111-2222-3333-4444-555555555555','2124845982:2115440648:401fb697d1c5d676b50bd6b873efe31c',0,NULL,1.79535516104660439491e+09,1.7953551610478367805e+09);
INSERT INTO "vif" VALUES('00000006-7d5e-4f0a-9c55-2f7a3c1d9e01',6,'debt','tap00000006-7d','{"address":"fa:16:3e:00:00:06","details":{"bridge":"br-data"},"devname":"tap00000006-7d","id":"00000006-7d5e-4f0a-9c55-2f7a3c1d9e01","instance":{},"network":{},"plug_script":"linux-bridge","shape":{"type":"ethernet"}}','{"address":"fa:16:3e:00:00:06","details":{"bridge":"br-data"},"devname":"tap00000006-7d","id":"00000006-7d5e-4f0a-9c55-2f7a3c1d9e01","instance":{},"network":{},"plug_script":"linux-bridge","shape":{"type":"ethernet"}}',NULL,'{"name":"linux-bridge","path":"/usr/lib/vifplug/scripts/linux-bridge","digest":"sha256:0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f"}','{}',NULL,'11111111-2222-3333-4444-555555555555',NULL,1,'{"code":"failed","message":"the bridge is gone","script":"linux-bridge"}',1.79535516104908609387e+09,1.79535516105398559568e+09);
INSERT INTO "vif" VALUES('00000007-7d5e-4f0a-9c55-2f7a3c1d9e01',7,'plugged','tap00000007-7d','{"address":"fa:16:3e:00:00:07","details":{"vhostuser_mode":"server","vhostuser_socket":"/run/vhu7"},"devname":"tap00000007-7d","id":"00000007-7d5e-4f0a-9c55-2f7a3c1d9e01","instance":{},"network":{},"shape":{"path":"/run/vhu7","type":"vhostuser"}}','{"address":"fa:16:3e:00:00:07","details":{"vhostuser_mode":"server","vhostuser_socket":"/run/vhu7"},"devname":"tap00000007-7d","id":"00000007-7d5e-4f0a-9c55-2f7a3c1d9e01","instance":{},"network":{},"shape":{"path":"/run/vhu7","type":"vhostuser"}}',NULL,NULL,'{}',NULL,'11111111-2222-3333-4444-555555555555',NULL,0,NULL,1.79535516105459785462e+09,1.79535516105576348306e+09);
CREATE UNIQUE INDEX vif_one_current ON vif (id) WHERE state != 'debt';
CREATE UNIQUE INDEX vif_one_device ON vif (devname) WHERE state != 'debt';
CREATE INDEX vif_unsettled ON vif (state) WHERE state != 'plugged';
CREATE INDEX call_vif ON call (vif_id, number);
CREATE INDEX call_started ON call (started);
PRAGMA user_version = 1;
COMMIT;
