"""What schemathesis cannot read from the document: a read that asks for a version that is not there yet waits for two
seconds and is answered 503, which is right, but not within the time that there is. So versions are kept small.
"""

import schemathesis

NAMES = ("min_version", "Placard-Min-Version")


def near(values):
    if isinstance(values, dict):
        for name in NAMES:
            text = str(values.get(name, ""))
            if text.isascii() and text.isdigit() and int(text) < 2**63:
                values[name] = "1" if isinstance(values[name], str) else 1
    return values


@schemathesis.hook
def before_call(context, case, kwargs):
    near(case.query)
    if case.headers is not None:
        for name in list(case.headers):
            if name.lower() == "placard-min-version":
                text = str(case.headers[name])
                if text.isascii() and text.isdigit() and int(text) < 2**63:
                    case.headers[name] = "1"
