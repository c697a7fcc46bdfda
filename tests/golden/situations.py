# SPDX-License-Identifier: MIT
"""What the golden drivers share: how a test fails or is skipped, and TAP for a list of them."""


class Skip(Exception):
    """This machine can not run the test."""


class Fail(Exception):
    """The message says what was run, what came out and what was wanted."""


def expect(condition, what):
    if not condition:
        raise Fail(what)


def tap(tests, *args):
    """Call each (name, test) with args, print TAP; the exit status. A test fails by any exception."""
    failed = 0
    for number, (name, test) in enumerate(tests, 1):
        problem = None
        try:
            test(*args)
        except Skip as reason:
            print(f"ok {number} - {name} # SKIP {reason}", flush=True)
            continue
        except Fail as error:
            problem = str(error)
        except Exception as error:  # pylint: disable=broad-except
            problem = repr(error)
        if problem is not None:
            failed += 1
            print("# " + problem.replace("\n", "\n# "))
        print(f"{'not ' if problem is not None else ''}ok {number} - {name}", flush=True)
    print(f"1..{len(tests)}")
    return 1 if failed else 0
