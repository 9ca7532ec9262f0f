"""Follows events as clients that others wrote do: events.py URL PASSWORD [TOKEN]. The last line is the last token."""
import ssl
import sys
import threading
import xmlrpc.client

url, password = sys.argv[1], sys.argv[2]


def connect():
    return xmlrpc.client.ServerProxy(url, context=ssl._create_unverified_context())


def call(proxy, name, *args):
    reply = getattr(proxy, name)(*args)
    if reply["Status"] != "Success":
        raise RuntimeError(reply["ErrorDescription"])
    return reply["Value"]


def fails(code, proxy, name, *args):
    try:
        call(proxy, name, *args)
    except RuntimeError as e:
        assert e.args[0][0] == code, e
        return
    raise AssertionError("%s did not fail with %s" % (name, code))


server = connect()
session = call(server, "session.login_with_password", "root", password, "1.0", "events.py")


def events(classes, token, timeout=60.1):
    return call(server, "event.from", session, classes, token, timeout)


if len(sys.argv) > 3:
    # The daemon has started again since: what was deleted meanwhile it cannot know, and it says so.
    fails("EVENTS_LOST", server, "event.from", session, ["*"], sys.argv[3], 60.1)

# From "" every object is new, and the counts are those of all classes.
batch = events(["*"], "")
known = {}
for e in batch["events"]:
    assert e["operation"] == "add" and e["timestamp"] == "0.0", e
    known.setdefault(e["class"], {})[e["ref"]] = e["snapshot"]
for cls in ("pool", "host", "sr", "pbd", "vm", "sm", "host_metrics", "task", "vdi"):
    assert batch["valid_ref_counts"][cls] == len(known.get(cls, {})), (cls, batch["valid_ref_counts"], known.keys())
assert "session" not in known and "role" not in known and batch["valid_ref_counts"]["session"] >= 1
(sr, record), = known["sr"].items()
assert record == call(server, "SR.get_record", session, sr), record
token = batch["token"]
assert len(token) == 41 and token[20] == ",", token

# A timeout is an answer without events, whatever type the number has.
for timeout in (0.01, 0, "0.01"):
    assert events(["vdi"], token, timeout)["events"] == []

# Another connection makes and destroys a VDI and a task meanwhile.
other = connect()
spec = {"name_label": "<disk>", "name_description": "", "SR": sr, "virtual_size": str(16 << 20), "type": "user", "sharable": False,
        "read_only": False, "other_config": {}}
vdi = call(other, "VDI.create", session, spec)
batch = events(["VDI", "SR"], token)
got = {(e["operation"], e["class"], e["ref"]): e.get("snapshot") for e in batch["events"]}
assert ("add", "vdi", vdi) in got and ("mod", "sr", sr) in got, got
assert got["add", "vdi", vdi]["name_label"] == "<disk>" and vdi in got["mod", "sr", sr]["VDIs"], got
assert batch["valid_ref_counts"]["vdi"] == 1 and batch["token"] > token
token = batch["token"]

task = call(server, "task.create", session, "a task", "")
waiting = threading.Thread(target=lambda: call(other, "task.set_status", session, task, "success"))
before = events(["task/" + task], token)
assert [e["operation"] for e in before["events"]] == ["add"], before
waiting.start()
after = events(["task/" + task], before["token"])
waiting.join()
assert after["events"][0]["snapshot"]["status"] == "success", after
call(server, "task.destroy", session, task)
call(server, "VDI.destroy", session, vdi)
batch = events(["task", "vdi"], after["token"])
while {"task", "vdi"} - {e["class"] for e in batch["events"] if e["operation"] == "del"}:
    more = events(["task", "vdi"], batch["token"])
    batch = {"events": batch["events"] + more["events"], "token": more["token"], "valid_ref_counts": more["valid_ref_counts"]}
assert not any("snapshot" in e for e in batch["events"] if e["operation"] == "del"), batch

# Messages are objects with events of their own.
call(server, "message.create", session, "HELLO", "3", "Host", next(iter(known["host"].values()))["uuid"], "body")
batch = events(["message"], batch["token"])
(e,) = batch["events"]
assert e["operation"] == "add" and e["snapshot"]["name"] == "HELLO", e
since = call(server, "message.get_since", session, xmlrpc.client.DateTime("20200101T00:00:00Z"))
assert since[e["ref"]] == e["snapshot"], since
call(server, "message.destroy", session, e["ref"])
assert [x["operation"] for x in events(["message"], batch["token"])["events"]] == ["del"]

# The oldest way.
fails("SESSION_NOT_REGISTERED", server, "event.next", session)
call(server, "event.register", session, ["pool"])
pool = next(iter(known["pool"]))
injected = call(server, "event.inject", session, "pool", pool)
assert [(x["operation"], x["ref"]) for x in call(server, "event.next", session)] == [("mod", pool)]
assert [x["ref"] for x in events(["pool"], injected)["events"]] == [pool]
fails("EVENT_FROM_TOKEN_PARSE_FAILURE", server, "event.from", session, ["*"], "nonsense", 1.0)

# Who waits when the session is closed hears of it.
token = events([], "", 0)["token"]
ended = threading.Thread(target=lambda: call(other, "session.logout", session))
ended.start()
fails("SESSION_INVALID", server, "event.from", session, ["role"], token, 60.1)
ended.join()
print(token)
