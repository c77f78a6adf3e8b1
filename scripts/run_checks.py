"""Runs every test suite of a build tree and counts the results.

Each suite writes its results to a JSON or JUnit file, which is counted; a suite
that dies without one, or that fails without a failing test, counts as one
failure. The last line is `N passed, N failed`.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as xml

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
LIT = "/usr/lib/llvm-22/bin/lit"


class Counts:
    def __init__(self):
        self.passed = self.failed = self.skipped = 0

    def add(self, outcome):
        setattr(self, outcome, getattr(self, outcome) + 1)


def count_lit(path):
    """Counts lit's JSON: an expected failure passes, an unexpected pass fails."""
    outcomes = {
        "PASS": "passed",
        "FLAKYPASS": "passed",
        "XFAIL": "passed",
        "SKIPPED": "skipped",
        "UNSUPPORTED": "skipped",
        "EXCLUDED": "skipped",
    }
    counts = Counts()
    with open(path) as file:
        for test in json.load(file)["tests"]:
            counts.add(outcomes.get(test["code"], "failed"))
    return counts


def junit_outcome(case):
    """The outcome of a case of a JUnit file, as ctest, GoogleTest and pytest write it."""
    if case.find("failure") is not None or case.find("error") is not None:
        return "failed"
    if case.get("status") == "notrun" and case.get("result") is None:
        return "failed"  # ctest: the test's program is missing
    return "passed" if case.find("skipped") is None else "skipped"


def count_junit(path):
    counts = Counts()
    for case in xml.parse(path).getroot().iter("testcase"):
        counts.add(junit_outcome(case))
    return counts


def count_ctest(path):
    """Counts ctest's file; a GoogleTest program that ended well counts by its own cases."""
    counts = Counts()
    for case in xml.parse(path).getroot().iter("testcase"):
        inner = os.path.join(os.path.dirname(path), "gtest", case.get("name") + ".xml")
        outcome = junit_outcome(case)
        if not os.path.exists(inner):
            counts.add(outcome)
            continue
        cases = count_junit(inner)
        counts.passed += cases.passed
        counts.skipped += cases.skipped
        counts.failed += max(cases.failed, outcome == "failed")
    return counts


def run_suite(name, command, results, count, timeout, total, environment):
    """Runs one suite; its counts go into `total`."""
    print(f"== {name}", flush=True)
    begin = time.monotonic()
    try:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, cwd=ROOT, env=environment, start_new_session=True
        )
        try:
            status = process.wait(timeout)
        except BaseException as error:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            if not isinstance(error, subprocess.TimeoutExpired):
                raise
            print(f"error: expected {name} to end within {timeout} s, but it did not", flush=True)
            status = -1
    except OSError as error:
        print(f"error: cannot start {command[0]}: {error.strerror}", flush=True)
        status = -1
    try:
        counts = count(results)
    except (OSError, ValueError, KeyError, xml.ParseError):
        print(f"error: expected results of {name}, but got none", flush=True)
        counts = Counts()
        counts.add("failed")
    if status != 0 and counts.failed == 0:
        print(f"error: expected {name} to end well, but got exit status {status}", flush=True)
        counts.add("failed")
    print(
        f"-- {name}: {counts.passed} passed, {counts.failed} failed, "
        f"{counts.skipped} skipped in {time.monotonic() - begin:.0f} s",
        flush=True,
    )
    total.passed += counts.passed
    total.failed += counts.failed
    total.skipped += counts.skipped


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tier", choices=["fast", "full"], default="full")
    parser.add_argument("--build", default=os.path.join(ROOT, "build", "release"))
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    args = parser.parse_args()

    args.build = os.path.abspath(args.build)
    environment = dict(os.environ, GANQ_HOME=args.build, GANQ_JOBS=str(args.jobs))
    total = Counts()
    with tempfile.TemporaryDirectory() as directory:

        def result(name):
            return os.path.join(directory, name)

        run_suite(
            "lit",
            [LIT, "-s", f"-j{args.jobs}", f"--output={result('lit.json')}", os.path.join(args.build, "test")],
            result("lit.json"),
            count_lit,
            1800,
            total,
            environment,
        )
        environment["GTEST_OUTPUT"] = "xml:" + result("gtest") + "/"
        run_suite(
            "unit",
            [
                "ctest",
                "--test-dir",
                args.build,
                "-j",
                str(args.jobs),
                "--output-on-failure",
                "--no-tests=error",
                "--timeout",
                "300",
                "--progress",
                "--output-junit",
                result("unit.xml"),
                *(["-LE", "full"] if args.tier == "fast" else []),
            ],
            result("unit.xml"),
            count_ctest,
            1800,
            total,
            environment,
        )
        if args.tier == "full":
            for folder, timeout in [("python/tests", 900), ("test/EndToEnd", 3600)]:
                path = os.path.join(ROOT, folder)
                name = folder.replace("/", "-")
                run_suite(
                    folder,
                    [
                        sys.executable,
                        "-m",
                        "pytest",
                        "-q",
                        "-rs",
                        "-p",
                        "no:cacheprovider",
                        # Tests of one file share what they compile.
                        f"--numprocesses={args.jobs}",
                        "--dist=loadfile",
                        f"--junitxml={result(name + '.xml')}",
                        path,
                    ],
                    result(name + ".xml"),
                    count_junit,
                    timeout,
                    total,
                    environment,
                )
    if total.skipped:
        print(f"{total.skipped} skipped")
    print(f"{total.passed} passed, {total.failed} failed")
    return 0 if total.passed and not total.failed else 1


if __name__ == "__main__":
    sys.exit(main())
