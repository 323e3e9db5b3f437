"""Tests every SageMaker operation of `trimtab simulate` with boto3 and the AWS CLI, and
checks each raw body against botocore's model.

    target/components/venv/bin/python tests/wire/wire.py target/debug/trimtab

The name of each test is a sentence. The tests run in order on the clusters of worlds.py,
and changes of a test stay visible to the tests after it. walker.py checks the raw bodies.
The last line is `N passed, N failed`; the exit code is 1 if any test failed.
"""

import sys
import tempfile
import traceback

import cloud as clouds

# The order of the tests.
import reading  # noqa: F401  isort: skip
import changing  # noqa: F401  isort: skip
import clients  # noqa: F401  isort: skip


def main():
    if len(sys.argv) != 2:
        raise SystemExit("usage: wire.py PATH_OF_TRIMTAB")
    passed = failed = 0
    with tempfile.TemporaryDirectory() as folder:
        cloud = clouds.Cloud(sys.argv[1], folder)
        try:
            for function in clouds.TESTS:
                name = function.__name__.replace("_", " ")
                cloud.bodies.complaints.clear()
                try:
                    function(cloud)
                    assert not cloud.bodies.complaints, cloud.bodies.complaints[:5]
                except Exception:
                    failed += 1
                    print(f"FAILED {name}")
                    traceback.print_exc(file=sys.stdout)
                else:
                    passed += 1
                    print(f"ok     {name}")
                sys.stdout.flush()
        finally:
            if cloud.endpoint.process.poll() is None:
                cloud.endpoint.process.kill()
    answered = {operation for operation, status in cloud.bodies.operations if status == 200}
    missing = sorted(set(clouds.OPERATIONS) - answered)
    if missing:
        failed += 1
        print(f"FAILED no response with status 200 from {', '.join(missing)}")
    print(f"{cloud.bodies.checked} raw bodies of {len(answered)} operations checked")
    print(f"{passed} passed, {failed} failed")
    raise SystemExit(1 if failed else 0)


if __name__ == "__main__":
    main()
