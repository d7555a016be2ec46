"""Strings that nobody can guess from what stands around them: identifiers, numbers, dates, addresses, paths."""

import base64
import string

UPPER, DIGITS = string.ascii_uppercase, string.digits
ALPHANUMERIC, HEXADECIMAL = string.ascii_letters + DIGITS, DIGITS + "abcdef"
MONTHS = "January February March April May June July August September October November December".split()
CURRENCIES = ["$", "€", "£", "¥", "USD ", "CHF ", "EUR "]
TOP_LEVEL = "com org net edu gov io de fr co.uk info dev ch".split()
ENDINGS = "txt py md csv json log yaml pdf jpg png tar.gz html c rs sql xlsx docx so conf".split()
STREETS = "Street St Road Rd Avenue Ave Lane Drive Court Square Boulevard Way".split()
STATES = "AL CA CO FL GA IL MA MD ME MI NY OH OR PA TX VA WA".split()
LINUX_ROOTS = ["/usr/lib/", "/var/log/", "/home/", "/etc/", "/opt/", "~/", "./", "../", "src/"]
FOLDERS = ["C:\\Users\\", "D:\\", "\\\\server\\share\\", "C:\\Program Files\\"]
# The everyday words of names, sentences and paths.
WORDS = """
the of and to a in is that it was for on are as with his they at be this from have or by one had not but what all were
when we there can an your which their said if do will each about how up out them then she many some so these would other
into has more her two like him see time could no make than first been its who now people my made over did down only way
find use may water long little very after words called just where most know get through back much before go good new
write our used me man too any day same right look think also around another came come work three word must because does
part even place well such here take why things help put years different away again off went old number great tell men
say small every found still between name should home big give air line set own under read last never us left end along
while might next sound below saw something thought both few those always looked show large often together asked house
world going want school important until form food keep children feet land side without boy once animals life enough took
four head above kind began almost live page got earth need far hand high year mother light country father let night
picture being study second soon story since white ever paper hard near sentence better best across during today others
however sure means knew try told young miles sun ways thing whole hear example heard several change answer room sea
against top turned learn point city play toward five using himself usually money seen car morning given letter river
garden winter market bridge window engine copper silver signal record harbour village minister question treaty island
""".split()


def drawn(rng, alphabet, count):
    """`count` characters of an alphabet, drawn by a `random.Random`."""
    return "".join(rng.choices(alphabet, k=count))


def uuid(rng):
    digits = f"{rng.getrandbits(128):032x}"
    digits = f"{digits[:12]}4{digits[13:16]}{rng.choice('89ab')}{digits[17:]}"
    cut = "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))
    return rng.choice((cut, cut, cut, cut.upper(), digits, f"{{{cut}}}"))


def hexadecimal(rng):
    count = rng.choice((4, 6, 7, 8, 12, 16, 32, 40, 64))
    digits = drawn(rng, HEXADECIMAL, count)
    pairs = ":".join(digits[start : start + 2] for start in range(0, min(count // 2 * 2, 12), 2))
    return rng.choice((digits, digits, digits.upper(), f"0x{digits[:8]}", f"#{digits[:6]}", pairs))


def base64_bytes(rng):
    data = rng.randbytes(rng.randint(6, 60))
    return rng.choice((base64.b64encode, base64.urlsafe_b64encode))(data).decode()


def code(rng):
    """Keys, serial numbers, names of variables and of versions."""
    kind = rng.randrange(6)
    if kind == 0:
        return drawn(rng, ALPHANUMERIC, rng.randint(8, 48))
    if kind == 1:
        return "-".join(drawn(rng, UPPER + DIGITS, rng.randint(2, 6)) for _ in range(rng.randint(2, 5)))
    if kind == 2:
        name = rng.choice("_-").join(rng.choices(WORDS, k=rng.randint(2, 4)))
        return name + rng.choice(("", drawn(rng, DIGITS, 2)))
    if kind == 3:
        return "".join(word.capitalize() for word in rng.choices(WORDS, k=rng.randint(2, 4)))
    if kind == 4:
        end = rng.choice(("", "-rc1", ".dev3", "+" + drawn(rng, HEXADECIMAL, 7)))
        return f"v{rng.randrange(20)}.{rng.randrange(40)}.{rng.randrange(100)}{end}"
    return drawn(rng, ALPHANUMERIC + string.punctuation, rng.randint(8, 24))


def number(rng):
    kind = rng.randrange(8)
    whole = rng.randrange(10 ** rng.randint(1, 16))
    if kind == 0:
        return f"{whole:,}"
    if kind == 1:
        decimals = drawn(rng, DIGITS, rng.randint(1, 10))
        return f"{rng.choice(('', '-', '+'))}{rng.randrange(10 ** rng.randint(1, 6))}.{decimals}"
    if kind == 2:
        return f"{rng.uniform(1, 10):.{rng.randint(1, 8)}f}e{rng.randint(-30, 30):+03d}"
    if kind == 3:
        return f"{rng.uniform(0, 100):.{rng.randint(0, 3)}f}{rng.choice(('%', ' %'))}"
    if kind == 4:
        return f"{rng.choice(CURRENCIES)}{rng.randrange(10**6):,}.{rng.randrange(100):02d}"
    if kind == 5:
        return f"+{rng.randint(1, 99)} {rng.randrange(1000):03d} {rng.randrange(10**7):07d}"
    return str(whole)


def date(rng):
    year, month, day = rng.randint(1700, 2099), rng.randint(1, 12), rng.randint(1, 28)
    clock = f"{rng.randrange(24):02d}:{rng.randrange(60):02d}"
    return rng.choice(
        (
            f"{year}-{month:02d}-{day:02d}",
            f"{year}-{month:02d}-{day:02d}T{clock}:{rng.randrange(60):02d}Z",
            f"{year}-{month:02d}-{day:02d} {clock}:{rng.randrange(60):02d}.{rng.randrange(10**6):06d}",
            f"{month}/{day}/{year}",
            f"{day:02d}.{month:02d}.{year % 100:02d}",
            f"{day} {MONTHS[month - 1]} {year}",
            f"{MONTHS[month - 1]} {day}, {year}, {clock}",
            clock,
        )
    )


def host(rng):
    return ".".join([*rng.choices(WORDS, k=rng.randint(1, 2)), rng.choice(TOP_LEVEL)])


def email(rng):
    name = rng.choice(("", ".", "_", "-")).join(rng.choices(WORDS, k=2))
    return f"{name}{rng.choice(('', str(rng.randrange(1000))))}@{host(rng)}"


def url(rng):
    path = "/".join(rng.choices(WORDS, k=rng.randint(0, 4)))
    query = "&".join(f"{rng.choice(WORDS)}={drawn(rng, ALPHANUMERIC, rng.randint(1, 12))}" for _ in range(2))
    end = rng.choice(("", "/", f"?{query}", f"#{rng.choice(WORDS)}", f".{rng.choice(ENDINGS)}"))
    return f"{rng.choice(('https', 'https', 'http', 'ftp'))}://{rng.choice(('www.', ''))}{host(rng)}/{path}{end}"


def ip(rng):
    four = ".".join(str(rng.randrange(256)) for _ in range(4))
    eight = ":".join(f"{rng.getrandbits(16):x}" for _ in range(8))
    return rng.choice((four, four, f"{four}:{rng.randrange(65536)}", f"{four}/{rng.randrange(33)}", eight))


def postal(rng):
    street = f"{rng.randint(1, 9999)} {rng.choice(WORDS).capitalize()} {rng.choice(STREETS)}"
    city, ends = rng.choice(WORDS).capitalize(), drawn(rng, UPPER, 4)
    return rng.choice(
        (
            f"{street}, {city}, {rng.choice(STATES)} {rng.randrange(100000):05d}",
            f"{street}, {city} {ends[:2]}{rng.randint(1, 20)} {rng.randrange(10)}{ends[2:]}",
            f"{city}strasse {rng.randint(1, 300)}{rng.choice(('', 'a', 'b'))}, {rng.randrange(100000):05d} {city}",
        )
    )


def path(rng):
    names = [rng.choice(WORDS) + rng.choice(("", "", drawn(rng, DIGITS, 3))) for _ in range(rng.randint(1, 5))]
    file = f"{rng.choice(('', '_')).join(rng.choices(WORDS, k=2))}.{rng.choice(ENDINGS)}"
    if rng.random() < 0.3:
        return rng.choice(FOLDERS) + "\\".join([*names, file])
    return rng.choice(LINUX_ROOTS) + "/".join([*names, file])


# By the name that stands above a column, or before a value.
VALUES = {
    "uuid": uuid,
    "hash": hexadecimal,
    "data": base64_bytes,
    "key": code,
    "number": number,
    "date": date,
    "email": email,
    "url": url,
    "ip": ip,
    "address": postal,
    "path": path,
}
