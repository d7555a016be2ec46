"""
Words that every corpus can be asked about with, beside its own; about half of each kind are in either split. No
adjective ends with another and no noun begins with another, so that no pair such as `bright-river` is part of another.
"""

ADJECTIVES = """
able agile alert amber ancient azure bashful blissful bold brave brief bright brisk broad bronze calm careful cheerful
chilly clever cloudy coarse cosy crisp curious curved daring dense distant dizzy dusty eager early earnest elegant
eloquent fancy fearless fierce flat fluffy foggy fresh friendly frosty gentle giant gifted glad gleaming golden
graceful grand grateful green handy happy hasty heavy hidden hollow honest huge humble hungry icy idle jolly joyful
keen kind lazy level little lively lofty lonely loud loyal lucky lunar magic massive mellow merry mighty mild misty
modest narrow neat nimble noble noisy odd orange orderly pale patient peaceful plain playful polite proper proud
purple quaint quick quiet rapid rare ready restless rigid robust rocky rosy rough round royal rusty salty scarce
secret serene shallow sharp shiny shy silent silver simple sincere sleepy slender slim smooth snowy soft solid sour
spare steady steep sticky strange strict sturdy subtle sudden sunny sweet swift tall tame tender thick thin thirsty
thrifty tidy tiny tranquil useful vague valid vast velvet violet vivid warm wary wavy wealthy wet wild windy wise
witty wooden woolly worthy yellow young zealous
""".split()
NOUNS = """
acorn actor almond anchor antler anvil apple apron arrow artist atlas autumn badge bagel baker balcony balloon bamboo
banjo barley barrel basil basket beacon beaver bell bicycle biscuit blanket blossom boulder bracelet bramble branch
bridge broom bucket buffalo button cabin cactus camel candle canoe canyon captain carpet carrot castle cavern cedar
cellar chalk chapel cherry chimney cinnamon circus clover cobbler coconut comet compass copper coral cottage cotton
cradle crane crater cricket crown crystal cushion dagger daisy desert diamond dolphin donkey dragon drawer drum eagle
easel echo elbow elephant ember engine envelope falcon feather fennel fiddle field finch flannel flute forest fossil
fountain fox galaxy garden garlic gate gazelle geyser ginger giraffe glacier glove goblet goose gorge grape guitar
hammer hammock harbour harp hazel hedge helmet heron hill honey horizon hotel iceberg igloo island ivory jacket jaguar
jasmine jelly jewel journal jungle kayak kennel kettle kitchen kitten kiwi ladder lagoon lantern laurel lemon lettuce
library lighthouse lily linen lion lizard lobster locket lotus magnet magpie mango maple marble market meadow medal
melon mirror mitten monkey moose morning moss mountain muffin museum mustard needle nest nickel noodle nutmeg oasis
oatmeal ocean olive onion orchard orchid organ otter oven owl oyster paddle palace panda parcel parrot parsley peach
peacock pebble pelican pencil penguin pepper piano pillow pilot pinecone pistol planet plum pocket poet pony poplar
possum potato prairie prism pumpkin puppet puzzle quartz quilt rabbit raccoon radish raven reef ribbon river robin
rocket rooster rope ruby saddle saffron sailor salmon sandal satchel saturn scarf school scooter seashell shelter
shovel sketch sledge slipper snail sofa sparrow spider spinach spoon squirrel stable statue stone summer sunset swan
table tambourine tangerine teapot temple theatre thimble thistle thunder tiger timber toast tomato torch tower tractor
trumpet tulip tunnel turnip turtle umbrella urn valley vase village vine violin volcano waffle wagon walnut walrus
wardrobe waterfall weasel whale wheat whistle willow window winter wizard wolf yacht yarn zebra zeppelin zipper
""".split()
WORDS = ADJECTIVES + NOUNS
