"""Nouns, adjectives and small words of the embedded grammar: who lives, what is a thing, what is neither."""


def word_set(text: str) -> frozenset[str]:
    """The words of a text as a set."""
    return frozenset(text.split())


MASCULINE = word_set(
    """
    man boy guy father son brother grandfather husband uncle gentleman king prince waiter actor fisherman fireman
    policeman businessman groom cowboy dad lad nephew grandson
    """
)
FEMININE = word_set(
    """
    woman girl lady mother daughter sister grandmother wife aunt queen princess waitress actress bride mom mum niece
    granddaughter ballerina nun
    """
)
PEOPLE = (
    MASCULINE
    | FEMININE
    | word_set(
        """
    person human people child kid baby toddler infant teenager teen adult youth student teacher player athlete chef
    cook worker farmer driver rider dancer singer musician guitarist pianist drummer violinist doctor nurse dentist
    patient soldier police officer guard firefighter barber hairdresser stylist tailor painter artist potter
    sculptor carpenter mechanic plumber electrician welder blacksmith gardener baker butcher barista bartender
    cashier clerk customer shopper vendor seller tourist hiker climber runner jogger swimmer surfer skater
    skateboarder skier snowboarder cyclist biker boxer wrestler fighter golfer goalkeeper goalie pitcher batter
    referee coach trainer groomer owner friend neighbor neighbour colleague couple pair partner twin individual
    someone somebody anyone figure pedestrian passenger pilot sailor scientist technician engineer performer clown
    magician juggler acrobat gymnast bystander parent jockey grandparent sibling cousin visitor guest host tutor model
    photographer camerawoman cameraman reporter masseuse therapist stranger team crowd group audience family crew
    band
    """
    )
)
ANIMALS = word_set(
    """
    animal pet dog puppy hound terrier retriever poodle bulldog corgi husky cat kitten kitty bird parrot pigeon crow
    duck duckling goose swan chicken hen rooster chick owl eagle hawk penguin seagull sparrow horse pony foal donkey
    mule cow calf bull ox sheep lamb goat pig piglet rabbit bunny hamster mouse rat squirrel fox wolf bear cub panda
    tiger lion lioness leopard cheetah elephant giraffe zebra deer monkey ape gorilla chimpanzee kangaroo koala fish
    shark whale dolphin seal otter turtle tortoise frog toad lizard snake crocodile alligator octopus crab lobster
    bee butterfly ant spider insect snail camel llama alpaca buffalo ferret hedgehog raccoon beaver worm
    """
)
LIVING = PEOPLE | ANIMALS

HYPERNYMS: dict[str, frozenset[str]] = {
    **dict.fromkeys(("person", "human", "individual", "figure", "someone", "adult", "owner"), PEOPLE),
    **dict.fromkeys(("animal", "pet"), ANIMALS),
    "child": word_set("boy girl kid toddler baby"),
    "kid": word_set("boy girl child toddler"),
    "teenager": word_set("boy girl"),
    "guy": MASCULINE,
    "lady": FEMININE,
    "puppy": word_set("dog"),
    "dog": word_set("puppy hound terrier retriever poodle corgi husky"),
    "kitten": word_set("cat"),
    "cat": word_set("kitten"),
    "bike": word_set("bicycle"),
    "bicycle": word_set("bike"),
    "mug": word_set("cup"),
}
"""A later noun on the left may mean an earlier one on the right."""

BODY = word_set(
    """
    hand arm leg foot head face eye ear nose mouth lip tongue tooth hair finger thumb toe shoulder back chest belly
    stomach knee elbow wrist ankle neck chin cheek forehead tail paw wing fur body hip waist fist palm beak snout
    skin beard brow eyebrow lap torso limb mane hoof fin claw
    """
)
GARMENTS = word_set(
    """
    shirt t-shirt tshirt jacket sweater coat hoodie dress skirt pants trousers jeans shorts hat cap suit uniform
    apron vest blouse top tie scarf glove mitten sock shoe boot sandal sneaker helmet robe gown sweatshirt cardigan
    jersey tracksuit overalls leggings glasses sunglasses mask belt sleeve costume outfit clothes clothing attire
    tunic kimono sari veil headband bandana beanie raincoat swimsuit bikini collar harness polo tank sleeves jumper
    pullover headphones
    """
)
PLACES = word_set(
    """
    room bedroom kitchen bathroom hall garden park street road path trail field meadow beach forest wood mountain
    hill lawn grass floor ground pavement sidewalk courtyard square yard playground studio gym court stadium arena
    stage pool lake river sea ocean sky air sun space scene frame background foreground area place spot side
    distance center centre middle corner edge direction way world city town village house building office shop store
    restaurant cafe classroom school hospital station airport market desert snow sand wall ceiling camera view shot
    video footage image clip screen surface light breeze cloud wind rain shadow weather day night morning evening
    afternoon
    """
)
"""Scenery and what belongs to the film: never a target."""

ABSTRACT = word_set(
    """
    picture photo photograph selfie chess tennis soccer golf hockey badminton cricket rugby yoga pattern
    time moment while minute second hour step turn gesture smile expression look glance pose position posture stance
    move motion movement action activity break rest nap walk run swim trip tour care effort focus attention balance
    speed force energy joy happiness excitement interest curiosity enjoyment fun feeling emotion mood thought idea
    sense mind conversation discussion talk speech word story song tune melody music rhythm dance routine
    performance show game race contest competition task job work practice exercise stretch lesson technique skill
    trick style role method process end start beginning fall rise leap jump hop flip somersault cartwheel breath sip
    bite laugh nod bow wave sigh yawn sound noise voice help support aid advantage control pace distance lead chance
    place course use connection bond affection love kindness tenderness gentleness ease precision determination
    confidence enthusiasm surprise awe wonder silence peace atmosphere setting nothing everything something anything
    """
)
"""Nouns that name no body: never a target."""

NON_TARGETS = BODY | PLACES | ABSTRACT

COLOURS = word_set(
    """
    red orange yellow green blue purple pink brown white black gray grey silver gold golden beige tan navy turquoise
    teal violet maroon crimson cyan magenta cream olive blond blonde scarlet lime indigo lavender bronze copper
    mustard mustard-yellow khaki burgundy peach ivory charcoal amber
    """
)
ADJECTIVES = COLOURS | word_set(
    """
    young old elderly middle-aged tall short slim thin fat chubby muscular small little tiny large big huge giant
    long wide narrow thick heavy light dark bright pale shiny dull plain soft hard smooth rough round flat deep
    shallow lively fluffy furry hairy bald bearded happy sad calm relaxed quiet loud alert curious tired playful
    energetic friendly gentle strong weak fast slow quick careful new fresh clean dirty wet dry hot cold warm cool
    empty full open closed wooden metal metallic plastic glass rubber leather cotton woolen stone ceramic striped
    checkered checked plaid patterned spotted dotted colorful colourful knitted sleeveless casual formal traditional
    modern left right upper lower front rear other same different second third fourth own single several beautiful
    pretty cute nice simple fallen paved bare worn sunny gravel busy worn-out sharp blunt loose tight similar entire
    whole main visible nearby electric electronic male female indoor outdoor bigger smaller larger taller shorter
    younger older
    """
)

MATERIALS = word_set(
    "glass plastic metal rubber leather cotton paper stone gold silver cream orange peach lime bronze copper"
)
"""Adjectives that are nouns where no noun follows: "a glass of water"."""

SAME_IN_PLURAL = word_set("sheep deer fish cattle police")

DETERMINERS = word_set(
    """
    a an the this these those some any each every both all another no either neither
    """
)
POSSESSIVES = word_set("my your his her its our their")
NUMBERS = word_set(
    """
    one two three four five six seven eight nine ten eleven twelve many several few multiple
    """
)
SUBJECT_PRONOUNS = word_set("he she it they we i you")
OBJECT_PRONOUNS = word_set("him her it them us me you")
REFLEXIVES = word_set("himself herself itself themselves myself yourself oneself")
PREPOSITIONS = word_set(
    """
    in on at by with from of to into onto over under behind beside near around across along through toward towards
    against for about above below between among inside outside off up down past beyond without within upon during
    after before amid amidst via next like as until till since except despite atop underneath beneath alongside per
    aboard
    """
)
CONJUNCTIONS = word_set("and or but then nor yet")
SUBORDINATORS = word_set(
    """
    while when as because although though if whereas once where before after until whilst since so
    """
)
RELATIVES = word_set("who which that whom")
ADVERBS = word_set(
    """
    slowly calmly carefully quickly gently not never very quite rather too also just still again away back forward
    forwards backward backwards together apart aside meanwhile nearby here there now soon later suddenly finally
    afterwards afterward first once twice always often sometimes already almost nearly even only simply outdoors
    indoors upstairs downstairs ahead everywhere somewhere then well fast straight upright eventually playfully
    firmly tightly softly briefly repeatedly vigorously energetically
    """
)
PLACE_WORDS = word_set(
    """
    left right top bottom center centre middle foreground background front back corner rear
    """
)
NEGATIONS = word_set("not never n't without no")

_PLURALS = {
    "men": "man", "women": "woman", "people": "person", "children": "child", "feet": "foot", "teeth": "tooth",
    "mice": "mouse", "geese": "goose", "knives": "knife", "wolves": "wolf", "leaves": "leaf", "loaves": "loaf",
    "calves": "calf", "shelves": "shelf", "scarves": "scarf", "halves": "half", "lives": "life", "oxen": "ox",
    "glasses": "glasses", "trousers": "trousers", "pants": "pants", "jeans": "jeans", "scissors": "scissors",
    "shorts": "shorts", "clothes": "clothes", "sunglasses": "sunglasses", "tomatoes": "tomato", "potatoes": "potato",
    "policemen": "policeman", "firemen": "fireman", "fishermen": "fisherman", "grass": "grass", "bus": "bus",
    "glass": "glass", "dress": "dress", "headphones": "headphones", "leggings": "leggings", "overalls": "overalls",
    "ladies": "lady", "babies": "baby", "canvas": "canvas", "gas": "gas", "cookies": "cookie", "movies": "movie",
}  # fmt: skip
"""Plurals that no rule gives, and singulars that look like plurals."""


def singular(noun: str) -> str:
    """The singular of a lower-case noun: "boxes" → "box"."""
    if noun in _PLURALS:
        return _PLURALS[noun]
    if noun.endswith(("men",)) and len(noun) > 4:
        return noun[:-3] + "man"
    if noun.endswith("ies") and len(noun) > 4:
        return noun[:-3] + "y"
    if noun.endswith(("sses", "shes", "ches", "xes", "zes")):
        return noun[:-2]
    if noun.endswith("s") and not noun.endswith(("ss", "us", "is")) and len(noun) > 3:
        return noun[:-1]
    return noun


def is_plural(noun: str) -> bool:
    """Whether a lower-case noun is the plural of another word."""
    return singular(noun) != noun or noun in ("people",)


def is_living(lemma: str) -> bool:
    """Whether a singular noun names a person or an animal, by the lists and by how names of people end."""
    if lemma in LIVING:
        return True
    return lemma.endswith(("woman", "man", "boy", "girl", "person")) and lemma not in ("human",)
