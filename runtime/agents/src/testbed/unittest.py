# Runs the tests that unittest discovers below a directory and tells each one's begin and end as a line of JSON.
# Arguments: the directory, the seconds a single test may take (0 for any), then names of tests to run alone.
# Standard input: a JSON list of tests to leave out. What the tests themselves print goes to the standard error.
import faulthandler, json, os, sys, time, traceback, unittest

told = os.fdopen(os.dup(1), "w", encoding="utf-8", errors="backslashreplace")
os.dup2(2, 1)


def tell(event, **what):
    told.write(json.dumps(dict(what, event=event)) + "\n")
    told.flush()


def defined(test):
    try:
        method = getattr(test, test._testMethodName)
        while hasattr(method, "__wrapped__"):
            method = method.__wrapped__
        code = getattr(method, "__func__", method).__code__
        return {"file": code.co_filename, "line": code.co_firstlineno}
    except Exception:
        example = getattr(test, "_dt_test", None)
        if example is not None and example.filename:
            return {"file": example.filename, "line": (example.lineno or 0) + 1}
        return {}


class Teller(unittest.TestResult):
    def startTest(self, test):
        super().startTest(test)
        self.began = time.perf_counter()
        tell("start", id=test.id(), **defined(test))
        if limit:
            faulthandler.dump_traceback_later(limit, exit=True)

    def stopTest(self, test):
        if limit:
            faulthandler.cancel_dump_traceback_later()
        tell("stop", id=test.id(), seconds=round(time.perf_counter() - self.began, 6))
        super().stopTest(test)

    def ended(self, test, outcome, err=None, message="", part=None):
        detail = ""
        if err is not None:
            message = "".join(traceback.format_exception_only(err[0], err[1]))
            detail = "".join(traceback.format_exception(*err))[-6000:]
        tell("end", id=test.id(), outcome=outcome, message=message[-2000:], detail=detail, part=part)

    def addSuccess(self, test):
        super().addSuccess(test)
        self.ended(test, "passed")

    def addFailure(self, test, err):
        super().addFailure(test, err)
        self.ended(test, "failed", err)

    def addError(self, test, err):
        super().addError(test, err)
        self.ended(test, "error", err)

    def addSkip(self, test, reason):
        super().addSkip(test, reason)
        self.ended(test, "skipped", message=str(reason))

    def addExpectedFailure(self, test, err):
        super().addExpectedFailure(test, err)
        self.ended(test, "expected")

    def addUnexpectedSuccess(self, test):
        super().addUnexpectedSuccess(test)
        self.ended(test, "unexpected", message="it passes, but is marked as an expected failure")

    def addSubTest(self, test, subtest, err):
        super().addSubTest(test, subtest, err)
        if err is not None:
            failed = issubclass(err[0], test.failureException)
            self.ended(test, "failed" if failed else "error", err, part=subtest._subDescription())


def flat(suite):
    for test in suite:
        if isinstance(test, unittest.TestSuite):
            yield from flat(test)
        elif test is not None:
            yield test


top, limit, only = sys.argv[1], float(sys.argv[2]), sys.argv[3:]
left_out = set(json.loads(sys.stdin.read() or "[]"))
sys.argv[1:] = []
if os.path.isdir("src"):
    sys.path.insert(0, os.path.abspath("src"))
    os.environ["PYTHONPATH"] = sys.path[0]
loader = unittest.TestLoader()
if only:
    sys.path.insert(0, top)
    tests = loader.loadTestsFromNames(only)
else:
    tests = loader.discover(top, pattern="test*.py", top_level_dir=top)
if left_out:
    tests = unittest.TestSuite([test for test in flat(tests) if test.id() not in left_out])
result = Teller()
tests.run(result)
tell(
    "done",
    run=result.testsRun,
    failures=len(result.failures),
    errors=len(result.errors),
    skipped=len(result.skipped),
    unexpected=len(result.unexpectedSuccesses),
)
