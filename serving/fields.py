"""Fields of JSON objects: what each may be. What is not known is refused, and never ignored."""

from c3.quoting_c3 import quoted

from .errors import ApiError


def checked(body, checks, neutral=None, where=""):
    """
    The fields of an object that are given, checked.

        checked({"seed": 1, "n": 1}, {"seed": whole_number(0)}, neutral={"n": (1,)})  # {"seed": 1}

    Args:
        body (`dict`): the object.
        checks (`dict[str, Callable]`): for each field that is served `(name, value) -> value`, which raises `ApiError`.
        neutral (`dict[str, tuple]`, *optional*): fields that are not served, and with what values they ask for nothing.
        where (`str`): what stands before the names in messages.

    Returns: `dict`; a field that is null is not in it.

    Raises:
        ApiError: 400.
    """
    neutral, found = neutral or {}, {}
    for name, value in body.items():
        if value is None:
            continue
        if name in checks:
            found[name] = checks[name](where + name, value)
        elif name not in neutral:
            known = ", ".join(sorted(checks))
            raise ApiError(400, f"{where}{quoted(name)} is not supported; what is: {known}.", quoted(name)[1:-1])
        elif not any(value == each and isinstance(value, bool) == isinstance(each, bool) for each in neutral[name]):
            raise ApiError(400, f"{where}{name}={quoted(value)} is not supported: leave it out.", name)
    return found


def whole_number(least, most):
    """The check of integers from `least` to `most`."""

    def check(name, value):
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            raise ApiError(400, f"{name} must be an integer from {least} to {most}, not {quoted(value)}.", name)
        return value

    return check


def number(least, most, above=False):
    """The check of numbers from `least`, or with `above` above it, to `most`."""

    def check(name, value):
        fits = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not fits or not least <= value <= most or (above and value == least):
            allowed = f"above {least} and at most {most}" if above else f"from {least} to {most}"
            raise ApiError(400, f"{name} must be a number {allowed}, not {quoted(value)}.", name)
        return float(value)

    return check


def of_type(kind, called):
    """The check of values of a Python type; `called` says what that is in JSON, as "a string"."""

    def check(name, value):
        if not isinstance(value, kind):
            raise ApiError(400, f"{name} must be {called}, not {quoted(value)}.", name)
        return value

    return check


string, boolean = of_type(str, "a string"), of_type(bool, "true or false")


def strings(most, longest):
    """The check of a string, or of a list of at most `most`; none empty or of more than `longest` characters."""

    def check(name, value):
        values = [value] if isinstance(value, str) else value
        fits = isinstance(values, list) and len(values) <= most and all(isinstance(each, str) for each in values)
        if not fits or not all(0 < len(each) <= longest for each in values):
            allowed = f"a string or a list of at most {most}, each of 1 to {longest} characters"
            raise ApiError(400, f"{name} must be {allowed}, not {quoted(value)}.", name)
        return values

    return check
