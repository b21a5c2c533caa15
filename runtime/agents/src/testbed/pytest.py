# Runs the tests that pytest finds in the current directory and tells each one's begin and end as a line of JSON.
# Arguments: the directory (pytest's own settings say where below it), the seconds a single test may take (0 for any), then tests to run alone.
# Standard input: a JSON list of tests to leave out. What pytest and the tests print goes to the standard error.
import faulthandler, json, os, sys, time, traceback

told = os.fdopen(os.dup(1), "w", encoding="utf-8", errors="backslashreplace")
os.dup2(2, 1)
# pytest puts files in place of both outputs while a test runs.
said = os.fdopen(os.dup(2), "w")

import pytest


def tell(event, **what):
    told.write(json.dumps(dict(what, event=event)) + "\n")
    told.flush()


def explained(excinfo):
    error = excinfo.value
    while error.__cause__ is not None:
        error = error.__cause__
    message = "".join(traceback.format_exception_only(type(error), error))
    whole = traceback.format_exception(excinfo.type, excinfo.value, excinfo.tb)
    return {"message": message[-2000:], "detail": "".join(whole)[-6000:]}


def why(report):
    return getattr(report, "why", None) or {"message": report.longreprtext}


class Teller:
    counts = None

    def pytest_configure(self, config):
        self.root = config.rootpath

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, config, items):
        gone = [item for item in items if item.nodeid in left_out]
        if gone:
            config.hook.pytest_deselected(items=gone)
            items[:] = [item for item in items if item.nodeid not in left_out]

    @pytest.hookimpl(hookwrapper=True)
    def pytest_make_collect_report(self, collector):
        report = (yield).get_result()
        call = getattr(report, "call", None)
        if call is not None and call.excinfo is not None:
            report.why = explained(call.excinfo)

    def pytest_collectreport(self, report):
        if report.failed:
            tell("end", id=report.nodeid, outcome="error", **why(report))
        elif report.skipped:
            tell("end", id=report.nodeid, outcome="skipped", message=str(report.longrepr[2]))

    def pytest_runtest_logstart(self, nodeid, location):
        self.began = time.perf_counter()
        tell("start", id=nodeid, file=str(self.root / location[0]), line=(location[1] or 0) + 1)
        if limit:
            faulthandler.dump_traceback_later(limit, exit=True, file=said)

    def pytest_runtest_logfinish(self, nodeid, location):
        if limit:
            faulthandler.cancel_dump_traceback_later()
        tell("stop", id=nodeid, seconds=round(time.perf_counter() - self.began, 6))

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_makereport(self, item, call):
        report = (yield).get_result()
        if call.excinfo is not None:
            report.why = explained(call.excinfo)

    def pytest_runtest_logreport(self, report):
        if report.failed:
            outcome = "failed" if report.when == "call" else "error"
            tell("end", id=report.nodeid, outcome=outcome, **why(report))
        elif report.skipped and hasattr(report, "wasxfail"):
            tell("end", id=report.nodeid, outcome="expected")
        elif report.skipped:
            reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
            tell("end", id=report.nodeid, outcome="skipped", message=str(reason))
        elif report.when == "call":
            tell("end", id=report.nodeid, outcome="passed")

    def pytest_terminal_summary(self, terminalreporter):
        stats = terminalreporter.stats
        kinds = ["passed", "failed", "error", "skipped", "xfailed", "xpassed"]
        ran = {one.nodeid for kind in kinds for one in stats.get(kind, []) if isinstance(one, pytest.TestReport)}
        self.counts = {
            "run": len(ran),
            "failures": len(stats.get("failed", [])),
            "errors": len(stats.get("error", [])),
            "skipped": len(stats.get("skipped", [])),
        }


limit, only = float(sys.argv[2]), sys.argv[3:]
left_out = set(json.loads(sys.stdin.read() or "[]"))
sys.argv[1:] = []
if os.path.isdir("src"):
    sys.path.insert(0, os.path.abspath("src"))
    os.environ["PYTHONPATH"] = sys.path[0]
# Workers of xdist would tell their results elsewhere.
own = ["-p", "no:cacheprovider", "-p", "no:faulthandler", "-p", "no:xdist", "--continue-on-collection-errors", *only]
teller = Teller()
status = pytest.main(own, plugins=[teller])
if status == pytest.ExitCode.USAGE_ERROR and teller.counts is None:
    # The tree's own options may be those of plug-ins that are not here.
    teller = Teller()
    pytest.main(["-o", "addopts=", *own], plugins=[teller])
if teller.counts is not None:
    tell("done", **teller.counts)
