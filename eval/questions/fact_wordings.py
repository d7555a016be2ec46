"""How facts are said and asked for, in training and in tests; `{name}` is what they are about."""

# Of a property, `{noun}`.
SENTENCES = {
    "train": (
        "The {noun} of {name} is {value}.",
        "The {noun} for {name} is {value}.",
        "{name} has the {noun} {value}.",
        "{name}'s {noun} is {value}.",
        "For {name}, the {noun} is {value}.",
        "{value} is the {noun} of {name}.",
        "Note that the {noun} for {name} is {value}.",
        "{name}: {noun} {value}.",
        "{noun} of {name}: {value}.",
        "{noun} ({name}) = {value}.",
        "As its {noun}, {name} got {value}.",
        "The {noun} that belongs to {name} is {value}.",
        "They gave {name} the {noun} {value}.",
        "It is known that {name} has {value} as its {noun}.",
        "{name} changed its {noun} to {value}.",
        "By the way, the {noun} of {name} is {value}, as everyone knows.",
        "Yesterday the {noun} of {name} became {value}.",
        "We set {value} as the {noun} for {name}.",
        '"The {noun} of {name} is {value}," she said.',
        "Please remember {value}, the {noun} of {name}.",
        "{name} ({noun}: {value}) was there too.",
        "The {noun} of {name} was {value} at the time.",
    ),
    "test": (
        "If anybody asks, the {noun} for {name} should be {value}.",
        "{value} was chosen as {noun} of {name}.",
        "{name} still uses {value} as its {noun}.",
        "The report lists the {noun} of {name} as {value}.",
        "In the end {name} had to take the {noun} {value}.",
    ),
}
QUESTIONS = {
    "train": (
        "What is the {noun} of {name}?",
        "What is the {noun} for {name}?",
        "What is {name}'s {noun}?",
        "What {noun} does {name} have?",
        "Which {noun} does the text give for {name}?",
        "Tell me the {noun} of {name}.",
        "Find the {noun} of {name} in the text.",
        "{noun} of {name}?",
        "What does the text say is the {noun} of {name}?",
        "I need to know the {noun} of {name}.",
        "What was the {noun} of {name}?",
        "Read the text and say what the {noun} of {name} is.",
    ),
    "test": (
        "According to the text, what is the {noun} of {name}?",
        "Could you say which {noun} {name} has?",
        "Look up {name}: what is its {noun}?",
    ),
}
# What is said of somebody or something with words of its own, and how that is asked for.
RELATIONS = {
    "train": {
        ("{name} lives in {value}.", "In {value} lives {name}."): ("Where does {name} live?", "{name} lives where?"),
        ("{name} was born in {value}.",): ("Where was {name} born?", "When was {name} born?"),
        ("{name} works for {value}.",): ("Who does {name} work for?", "For whom does {name} work?"),
        ("{name} costs {value}.", "{name} is sold for {value}."): (
            "How much does {name} cost?",
            "What does {name} cost?",
        ),
        ("{name} starts at {value}.", "{name} begins at {value}."): (
            "When does {name} start?",
            "At what time does {name} begin?",
        ),
        ("{name} is on {value}.",): ("When is {name}?", "On which day is {name}?"),
        ("{name} was written by {value}.", "{value} wrote {name}."): ("Who wrote {name}?", "Who is {name} by?"),
        ("{name} belongs to {value}.", "{value} owns {name}."): ("Who owns {name}?", "To whom does {name} belong?"),
        ("{name} is called {value}.", "They call {name} {value}."): (
            "What is {name} called?",
            "How do they call {name}?",
        ),
        ("{name} weighs {value}.",): ("How much does {name} weigh?", "How heavy is {name}?"),
        ("{name} is in {value}.", "You find {name} in {value}."): ("Where is {name}?", "In what is {name}?"),
        ("{name} met {value} yesterday.",): ("Who did {name} meet?", "Whom did {name} meet yesterday?"),
        ("{name} likes {value}.", "{name} is fond of {value}."): ("What does {name} like?", "What is {name} fond of?"),
        ("{name} has {value} rooms.",): ("How many rooms does {name} have?", "How many rooms are in {name}?"),
        ("{name} married {value}.",): ("Who did {name} marry?", "Who is {name} married to?"),
        ("{name} was founded in {value}.",): ("When was {name} founded?", "Since when is there {name}?"),
        ("{name} bought {value} for a friend.",): ("What did {name} buy?", "What did {name} buy for a friend?"),
        ("{name} comes from {value}.",): ("Where does {name} come from?", "Where is {name} from?"),
        ("{name} is made of {value}.",): ("What is {name} made of?", "Of what is {name} made?"),
        ("{name} won against {value}.", "{value} lost to {name}."): (
            "Who lost to {name}?",
            "Against whom did {name} win?",
        ),
        ("{name} plays the part of {value}.",): ("Which part does {name} play?", "Who does {name} play?"),
        ("{name} sells {value} a day.",): ("How much does {name} sell?", "How much does {name} sell a day?"),
        ("{name} turned {value} last week.",): ("What did {name} turn?", "How old did {name} become?"),
        ("{name} wants {value} to be changed.",): ("What does {name} want to be changed?", "What is {name} to change?"),
    },
    "test": {
        ("{name} studied at {value}.",): ("Where did {name} study?",),
        ("{name} was painted by {value}.",): ("Who painted {name}?",),
        ("{name} ends at {value}.",): ("When does {name} end?",),
        ("{name} ate {value} in the morning.",): ("What did {name} eat?",),
        ("{name} employs {value} people.",): ("How many people does {name} employ?",),
        ("{name} moved to {value} later on.",): ("Where did {name} move?",),
    },
}
# Properties; a hash divides them among the splits.
NOUNS = [
    " ".join(noun.split())
    for noun in """
account, address, age, author, balance, batch, birthplace, brand, budget, call sign, capacity, capital, captain,
category, code, colour, cost, currency, date, delivery, depth, destination, diameter, distance, extension, favourite
animal, favourite word, frequency, grade, height, hobby, home, identifier, invoice, key, label, length, licence,
limit, location, lucky number, material, model, motto, name, nickname, number, offset, order, order number, origin,
owner, parcel, password, phone number, PIN, place, population, postcode, price, profession, rank, rating, reference,
result, room, room number, salary, score, secret, secret word, sector, serial number, shelf, signal, size, song,
speed, status, symbol, tag, target, team, temperature, ticket, title, token, track, type, unit, username, value,
version, voltage, weight, width, year
""".split(",")
]
