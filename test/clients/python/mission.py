"""A patch's whole life with Python's standard library: mission.py URL SOCKET PASSWORD UUID FILE

FILE is a signed patch with the given UUID, which says restartXAPI.
"""
import base64
import http.client
import socket
import ssl
import sys
import urllib.parse
import xmlrpc.client

url, socket_path, password, uuid, file = sys.argv[1:]
address = urllib.parse.urlsplit(url).netloc
insecure = ssl._create_unverified_context()


class Failure(Exception):
    """An error of the API: its code and parameters."""


class Socket(xmlrpc.client.Transport):
    """Calls over the host's unix socket, which XenAPI.xapi_local() makes."""

    def make_connection(self, host):
        connection = http.client.HTTPConnection(host)
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.connect(socket_path)
        return connection


class Session:
    """Calls as XenAPI.py makes them: over XML-RPC, with the session before the parameters."""

    def __init__(self, proxy=None):
        self.proxy = proxy or xmlrpc.client.ServerProxy(url, context=insecure)
        self.ref = None

    def login(self, *args):
        self.ref = self.raw("session.login_with_password", *args)
        return self

    def raw(self, name, *args):
        reply = getattr(self.proxy, name)(*args)
        if reply["Status"] != "Success":
            raise Failure(*reply["ErrorDescription"])
        return reply["Value"]

    def call(self, name, *args):
        return self.raw(name, self.ref, *args)


def fails(code, f, *args):
    """Expects an error and gives its parameters."""
    try:
        f(*args)
    except Failure as e:
        assert e.args[0] == code, e
        return list(e.args[1:])
    raise AssertionError("%s did not come" % code)


# Two, three and four parameters log in, at both paths; wrong and missing ones do not. The socket's owner needs no password.
s = Session().login("root", password, "1.0", "mission.py")
rpc2 = Session(xmlrpc.client.ServerProxy(url + "/RPC2", context=insecure))
local = Session(xmlrpc.client.ServerProxy("http://_var_lib_xcp_xapi", transport=Socket()))
for session in Session().login("root", password), rpc2.login("root", password, "2.3"), local.login("root", ""):
    assert session.call("session.get_is_local_superuser", session.ref) is True
    assert session.call("session.logout") == ""
    fails("SESSION_INVALID", session.call, "pool.get_all")
assert fails("SESSION_AUTHENTICATION_FAILED", Session().login, "root", "guessed")[0] == "root"
assert fails("MESSAGE_PARAMETER_COUNT_MISMATCH", Session().login, "root") == ["session.login_with_password", "2", "1"]
record = s.call("session.get_record", s.ref)
assert record["originator"] == "mission.py", record

# Types: ints are strings, floats doubles, times times, no value is the empty string, refs say so, sets are lists, maps dicts.
assert isinstance(record["last_active"], xmlrpc.client.DateTime) and record["last_active"].value.endswith("Z"), record
assert xmlrpc.client.DateTime("19700101T00:00:00Z") < record["last_active"]
assert record["pool"] is False and record["other_config"] == {} and record["this_user"] == "OpaqueRef:NULL", record
(pool, pool_record), = s.call("pool.get_all_records").items()
host, sr = pool_record["master"], pool_record["default_SR"]
assert s.call("SR.get_physical_size", sr).isdigit() and isinstance(s.call("host.get_patches", host), list)
assert s.call("pool.add_to_other_config", pool, "a<b&\"c\"", "\u00e9\n]]>") == ""
assert s.call("pool.get_other_config", pool)["a<b&\"c\""] == "\u00e9\n]]>"
assert fails("MAP_DUPLICATE_KEY", s.call, "pool.add_to_other_config", pool, "a<b&\"c\"", "")[:2] == ["pool", "other_config"]
s.call("pool.remove_from_other_config", pool, "a<b&\"c\"")
disk = {"name_label": "disk of mission.py", "name_description": "", "SR": sr, "type": "user", "sharable": False, "read_only": False, "other_config": {}}
sizes = set()
for size in 1 << 20, "1048576":
    vdi = s.call("VDI.create", dict(disk, virtual_size=size))
    sizes.add(s.call("VDI.get_virtual_size", vdi))
    assert s.call("VDI.get_snapshot_time", vdi) == xmlrpc.client.DateTime("19700101T00:00:00Z")
    s.call("VDI.destroy", vdi)
assert len(sizes) == 1, sizes
fails("INTERNAL_ERROR", s.call, "VDI.create", {k: v for k, v in disk.items() if k != "SR"})
assert fails("HANDLE_INVALID", s.call, "VDI.get_record", vdi) == ["VDI", vdi]
assert fails("UUID_INVALID", s.call, "SR.get_by_uuid", "nobody") == ["SR", "nobody"]
assert fails("MESSAGE_METHOD_UNKNOWN", s.call, "pool_patch.fly") == ["pool_patch.fly"]
methods = s.proxy.system.listMethods()  # without an envelope
assert "pool_patch.apply" in methods and "pool_patch.get_all_records" in methods, methods


def follow(classes, seen, token=""):
    """Follows events until one satisfies seen, and gives its snapshot and the token after it."""
    while True:
        batch = s.call("event.from", classes, token, 60.0)
        token = batch["token"]
        for e in batch["events"]:
            if seen(e):
                return e.get("snapshot"), token


def put(path, body, **headers):
    """Sends a body with the password, and gives the status and what was answered."""
    connection = http.client.HTTPSConnection(address, context=insecure)
    basic = base64.b64encode(b"root:" + password.encode()).decode()
    connection.request("PUT", path, body, dict(headers, Authorization="Basic " + basic))
    answer = connection.getresponse()
    return answer.status, answer.read().decode()


# An upload with the password alone, without a session, under a task of the session; what comes of it, events tell.
task = s.call("task.create", "upload of mission.py", "")
with open(file, "rb") as patch_file:
    status, body = put("/pool_patch_upload?task_id=" + task, patch_file)
assert (status, body) == (200, ""), (status, body)
ended, token = follow(["task/" + task], lambda e: e["snapshot"]["status"] != "pending")
assert ended["status"] == "success" and ended["progress"] == 1.0 and isinstance(ended["finished"], xmlrpc.client.DateTime), ended
patch = ended["result"]
assert s.call("pool_patch.get_by_uuid", uuid) == patch, patch
s.call("task.destroy", task)
vdi = s.call("pool_patch.get_VDI", patch)
status, body = put("/pool_patch_upload", b"no patch")
assert status == 200 and "INVALID_PATCH: [" in body, (status, body)
connection = http.client.HTTPSConnection(address, context=insecure)
connection.request("PUT", "/pool_patch_upload", b"", {"Authorization": "Basic " + base64.b64encode(b"root:guessed").decode()})
assert connection.getresponse().status == 401

# Asynchronous calls: one is asked about again and again, one is followed.
task = s.call("Async.pool_patch.precheck", patch, host)
while s.call("task.get_status", task) == "pending":
    pass
assert s.call("task.get_result", task) == "<value>prechecked\n</value>", s.call("task.get_record", task)
s.call("task.destroy", task)
task = s.call("Async.pool_patch.apply", patch, host)
ended, _ = follow(["task/" + task], lambda e: e["snapshot"]["status"] != "pending")
assert ended["status"] == "success" and ended["result"].endswith("applied\n</value>") and ended["error_info"] == [], ended
s.call("task.destroy", task)
row, token = follow(["host_patch"], lambda e: e["operation"] != "del" and e["snapshot"]["pool_patch"] == patch and e["snapshot"]["applied"])
assert row["host"] == host and isinstance(row["timestamp_applied"], xmlrpc.client.DateTime), row
assert s.call("pool_patch.get_after_apply_guidance", patch) == ["restartXAPI"]
task = s.call("Async.pool_patch.apply", patch, host)
ended, _ = follow(["task/" + task], lambda e: e["snapshot"]["status"] != "pending")
assert ended["status"] == "failure" and ended["error_info"] == ["PATCH_ALREADY_APPLIED", patch], ended
s.call("task.destroy", task)
assert fails("PATCH_IS_APPLIED", s.call, "pool_patch.destroy", patch) == []

# The end of the VDI is told, and the patch stays.
_, token = follow(["vdi"], lambda e: e["ref"] == vdi)
assert s.call("VDI.destroy", vdi) == ""
snapshot, _ = follow(["vdi"], lambda e: e["ref"] == vdi and e["operation"] == "del", token)
assert snapshot is None
assert s.call("pool_patch.get_uuid", patch) == uuid
s.call("session.logout")
