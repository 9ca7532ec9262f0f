"""A patch's whole life for a client that knows updates alone: update.py URL PASSWORD UUID FILE

FILE is a signed patch with the given UUID, which says restartHost.
"""
import base64
import http.client
import os
import ssl
import sys
import urllib.parse
import xmlrpc.client

url, password, patch_uuid, file = sys.argv[1:]
address = urllib.parse.urlsplit(url).netloc
insecure = ssl._create_unverified_context()
server = xmlrpc.client.ServerProxy(url, context=insecure)


class Failure(Exception):
    """An error of the API: its code and parameters."""


def raw(name, *args):
    reply = getattr(server, name)(*args)
    if reply["Status"] != "Success":
        raise Failure(*reply["ErrorDescription"])
    return reply["Value"]


session = raw("session.login_with_password", "root", password)


def call(name, *args):
    return raw(name, session, *args)


def fails(code, *args):
    """Expects an error of a call and gives its parameters."""
    try:
        call(*args)
    except Failure as e:
        assert e.args[0] == code, e
        return list(e.args[1:])
    raise AssertionError("%s did not come" % code)


def put(path, body):
    """Sends a body with the password."""
    connection = http.client.HTTPSConnection(address, context=insecure)
    basic = base64.b64encode(b"root:" + password.encode()).decode()
    connection.request("PUT", path, body, {"Authorization": "Basic " + basic})
    answer = connection.getresponse()
    assert answer.status == 200 and answer.read() == b"", answer.status


# A disk as large as the file, or larger; what is in it is not an update yet.
(pool_record,) = call("pool.get_all_records").values()
host, sr = pool_record["master"], pool_record["default_SR"]
vdi = call("VDI.create", {
    "name_label": "an update", "name_description": "", "SR": sr, "virtual_size": os.path.getsize(file), "type": "user",
    "sharable": False, "read_only": False, "other_config": {}})
assert "the VDI is empty" in fails("INVALID_UPDATE", "pool_update.introduce", vdi)[0]
with open(file, "rb") as update_file:
    put("/import_raw_vdi?vdi=" + vdi, update_file.read())  # not the file: of that Python sends chunks
token = call("event.from", ["pool_update", "host"], "", 0.0)["token"]
update = call("pool_update.introduce", vdi)
assert call("pool_update.introduce", vdi) == update

# Objects of all classes are told apart by their UUIDs.
record = call("pool_update.get_record", update)
groups = patch_uuid.split("-")
assert record["uuid"] == "-".join([groups[0], "0000", "0000"] + groups[3:]) != patch_uuid, record
assert record["vdi"] == vdi and record["hosts"] == [] and record["after_apply_guidance"] == ["restartHost"], record
assert record["installation_size"] == str(os.path.getsize(file)) and len(record["key"]) == 40, record
((patch, twin),) = call("pool_patch.get_all_records").items()
assert twin["uuid"] == patch_uuid and twin["pool_update"] == update and twin["VDI"] != vdi, twin

# It is applied as its patch is, and both say so.
assert call("pool_update.precheck", update, host) == "ok"
task = call("Async.pool_update.apply", update, host)
while call("task.get_status", task) == "pending":
    pass
ended = call("task.get_record", task)
assert ended["status"] == "success" and ended["result"] in ("", "<value></value>"), ended
call("task.destroy", task)
assert call("pool_update.get_hosts", update) == [host] == [call("host_patch.get_host", row) for row in call("pool_patch.get_host_patches", patch)]
assert call("host.get_updates", host) == call("host.get_updates_requiring_reboot", host) == [update]
seen = {}
for e in call("event.from", ["pool_update", "host"], token, 60.0)["events"]:
    seen[e["ref"]] = e["snapshot"]
assert seen[update]["hosts"] == [host] and seen[host]["updates"] == [update], seen
assert fails("UPDATE_ALREADY_APPLIED", "pool_update.apply", update, host) == [update]
assert fails("UPDATE_ALREADY_APPLIED_IN_POOL", "pool_update.pool_apply", update) == [update]
assert fails("UPDATE_IS_APPLIED", "pool_update.destroy", update) == []

# Its space comes back, and the records stay.
assert call("pool_update.pool_clean", update) == ""
assert call("VDI.get_all") == [] and call("pool_update.get_vdi", update) == "OpaqueRef:NULL"
assert call("pool_update.get_hosts", update) == [host]
call("session.logout")
