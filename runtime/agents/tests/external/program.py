"""A program that does an agent's work well, or badly in the way that its first argument names."""
import json, os, sys, time

mode = sys.argv[1]


def say(**line):
    print(json.dumps(line), flush=True)


def wait_for_go(folder):
    while not os.path.exists(os.path.join(folder, "go")):
        time.sleep(0.005)


if mode == "exits-at-once":
    print("no licence", file=sys.stderr)
    sys.exit(7)
if mode == "never-ready":
    time.sleep(600)
for line in sys.stdin:
    told = json.loads(line)
    if told["type"] == "hello":
        say(type="hello", protocol=2 if mode == "wrong-version" else 1)
        say(type="ready")
        continue
    if told["type"] == "cancel":
        say(type="failed", id=told["id"], why="cancelled")
    if told["type"] == "refused":
        with open(os.path.join(folder, "refused"), "w") as file:
            file.write(told["why"])
    if told["type"] != "task":
        continue
    id, folder = told["id"], told["folder"]
    finding = {"rule": "r", "severity": "low", "place": {"path": "a", "line": 1}, "message": "m", "advice": "a"}
    if mode == "good":
        say(type="progress", id=id, fraction=0.5, sentence="half")
        print("a word to the log", file=sys.stderr, flush=True)
        say(type="handoff", id=id, findings=[finding], metrics={"lines": 3}, warnings=["none was left out"])
    elif mode == "own-findings":
        with open(os.path.join(folder, "findings.json"), "w") as file:
            json.dump({"agent": "worker", "findings": [finding, finding], "warnings": []}, file)
        say(type="handoff", id=id, outputs=["findings.json"])
    elif mode == "fails":
        say(type="failed", id=id, why="there is no compiler here")
    elif mode == "oversize":
        say(type="failed", id=id, why="x" * (2 << 20))
    elif mode == "no-json":
        print("Traceback", flush=True)
    elif mode == "wrong-id":
        say(type="handoff", id=id + 1)
    elif mode == "after-handoff":
        handoff = json.dumps({"type": "handoff", "id": id})
        print(handoff + "\n" + handoff, flush=True)
    elif mode == "later":
        say(type="handoff", id=id)
        wait_for_go(folder)
        say(type="progress", id=id, fraction=1.0, sentence="still here")
        open(os.path.join(folder, "said"), "w").close()
    elif mode == "exits":
        print("out of memory", file=sys.stderr)
        sys.exit(7)
    elif mode == "exits-afterwards":
        say(type="handoff", id=id)
        sys.exit(0)
    elif mode == "torn":
        sys.stdout.write('{"type":"hand')
        sys.exit(0)
    elif mode == "no-such-output":
        say(type="handoff", id=id, outputs=["nowhere.txt"])
    elif mode in ("writes", "writes-late"):
        say(type="progress", id=id, fraction=0.0, sentence="begun")
        if mode == "writes-late":
            wait_for_go(folder)
        token = told["task"].get("lease", {}).get("token", 0)
        with open(os.path.join(folder, "new.txt"), "w") as file:
            file.write(f"by token {token}\n")
        say(type="handoff", id=id, writes={"token": token, "files": {"src/new.txt": "new.txt"}})
    elif mode == "waits":
        wait_for_go(folder)
        say(type="handoff", id=id)
    elif mode in ("silent", "silent-to-cancels"):
        say(type="progress", id=id, fraction=0.0, sentence="begun")
        time.sleep(600)
    elif mode == "heeds":
        say(type="progress", id=id, fraction=0.0, sentence="begun")
