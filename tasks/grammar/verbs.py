"""Verbs of the embedded grammar: which of them are acts on a target, how they rate, and their forms.

The two digits before a list are contactness and dynamism (paper App. A.1, turn 3) of the verb in its plain use, judged
from the verb alone. A verb that is not listed is known to be one by its form only, and is rated with low confidence.
"""

from functools import cache

from tasks.grammar.nouns import word_set

_ACTS = """
55 kick punch slap hit strike smash shove crush tear rip break tackle stab chop slam wrestle bite spank whip bash
   knock headbutt nudge trample squash crack shatter
54 push pull drag lift raise bump catch grab snatch shake spin roll swing bounce dribble climb cut slice peel scrub
   stir knead mix squeeze twist bend fold unfold wipe brush rub scratch dig saw hammer drill sand sweep mop rake
   shovel yank tug heave hoist haul grip grasp seize flip turn rotate tilt tip open close shut press pound beat comb
   crumple stretch tighten loosen unscrew screw stack shuffle assemble dismantle tie untie wrap unwrap pluck pick
   collect gather scoop paddle row ride mount pat tickle pinch poke prod massage wash rinse dry clean polish sharpen
   chew lick swallow eat nibble devour drink sip suck
53 carry put set place lay insert attach remove take bring fetch hug embrace cuddle kiss bathe groom shave button
   unbutton zip unzip plug unplug adjust move slide position load unload deposit retrieve return hand pass give
   offer serve deliver feed use operate wield steer drive type play strum pluck strap buckle fasten unfasten don
   hang connect disconnect examine arrange prepare flatten paint draw write decorate cook fry grill bake toast sew
   knit weave carve plant guide lead lower support touch feel tap manipulate manoeuvre maneuver balance stuff fill
   empty drain install fix repair build cover uncover bury tuck
52 hold pet stroke caress clutch cradle clasp inspect stabilize steady fondle
45 throw toss hurl fling pitch lob launch shoot fire
44 drop pour spill sprinkle splash spray splatter dump release scatter flick ignite light burn smear spread spit
43 dip soak reveal unveil present share
34 block intercept defend attack fight challenge herd race
33 walk steal buy sell exchange receive accept assist help photograph film record measure tend treat milk train
14 dodge evade escape avoid
15 chase pursue hunt
13 follow trail track circle approach accompany escort join meet greet surround stalk overtake
12 call invite instruct teach direct serenade command thank applaud
"""

PREPOSITIONAL: dict[tuple[str, str], tuple[int, int]] = {
    ("bump", "into"): (5, 4), ("bump", "against"): (5, 4), ("crash", "into"): (5, 5), ("run", "into"): (5, 4),
    ("collide", "with"): (5, 5), ("walk", "behind"): (1, 3), ("run", "behind"): (1, 4), ("walk", "after"): (1, 3),
    ("run", "after"): (1, 5), ("walk", "around"): (1, 3), ("run", "around"): (1, 4), ("trot", "behind"): (1, 3),
    ("trot", "after"): (1, 4), ("dash", "after"): (1, 5), ("circle", "around"): (1, 3), ("go", "after"): (1, 4),
    ("dance", "around"): (1, 4), ("dance", "with"): (4, 4), ("play", "with"): (3, 3), ("wrestle", "with"): (5, 5),
    ("fight", "with"): (5, 5), ("struggle", "with"): (5, 4), ("jump", "on"): (4, 4), ("jump", "onto"): (4, 5),
    ("jump", "over"): (1, 5), ("leap", "over"): (1, 5), ("leap", "onto"): (4, 5), ("leap", "on"): (4, 5),
    ("hop", "on"): (4, 4), ("hop", "onto"): (4, 4), ("step", "on"): (5, 3), ("step", "onto"): (4, 3),
    ("step", "over"): (1, 3), ("climb", "on"): (5, 4), ("climb", "onto"): (5, 4), ("climb", "into"): (5, 4),
    ("climb", "up"): (5, 4), ("bounce", "on"): (4, 4), ("lean", "against"): (4, 2), ("knock", "on"): (5, 3),
    ("knock", "over"): (5, 5), ("pull", "on"): (5, 4), ("tug", "on"): (5, 4), ("tug", "at"): (5, 4),
    ("push", "against"): (5, 4), ("lean", "on"): (4, 2), ("paw", "at"): (4, 4), ("bite", "into"): (5, 4),
    ("chew", "on"): (5, 3), ("nibble", "on"): (5, 3), ("nibble", "at"): (5, 3), ("sniff", "at"): (2, 2),
    ("swing", "at"): (2, 4), ("shoot", "at"): (2, 5), ("reach", "for"): (2, 3), ("wave", "at"): (1, 3),
    ("wave", "to"): (1, 3), ("talk", "to"): (1, 2), ("talk", "with"): (1, 2), ("speak", "to"): (1, 2),
    ("speak", "with"): (1, 2), ("bark", "at"): (1, 3), ("point", "at"): (1, 2), ("point", "to"): (1, 2),
    ("chat", "with"): (1, 2), ("interact", "with"): (3, 3), ("ride", "on"): (5, 4), ("hold", "onto"): (5, 2),
    ("drink", "from"): (5, 3), ("eat", "from"): (5, 3), ("stir", "in"): (4, 3), ("cling", "to"): (5, 2),
    ("work", "on"): (4, 3), ("tap", "on"): (5, 3), ("pounce", "on"): (5, 5), ("drum", "on"): (5, 4),
    ("catch", "up"): (1, 4), ("typing", "on"): (5, 3), ("type", "on"): (5, 3), ("pet", "at"): (4, 2),
}  # fmt: skip
"""Verb and preposition whose object is the target: "bumps into a man"."""

TRANSFER = word_set(
    """
    throw toss hurl fling pitch lob hand pass give bring offer show serve feed roll send lend deliver sell return
    kick slide present carry
    """
)
"""Verbs with a third party: "throws a ball to a dog"."""

BY_AIR = word_set("throw toss hurl fling pitch lob kick roll slide send")
"""Of those, the ones where giver and third party stay apart."""

DATIVE = word_set(
    """
    throw toss pass hand give bring offer show serve feed send lend sell pitch kick
    """
)
"""Of those, the ones whose third party may come first: "hands the woman a cup"."""

PARTICLES = word_set(
    """
    up down away back out off over apart aside around in on upright through
    """
)

_PHRASAL = """
pick:up/out put:down/on/away/back/in/up set:down/up/aside lift:up/off/out hold:up/out raise:up
take:out/off/away/down/back/up throw:away/back/out/down/up toss:away/back/up/out hand:over/out/back
give:back/away/up pass:over/on/back/along bring:back/in/over/along/out knock:down/over/off
push:away/aside/over/down/back pull:up/out/off/down/away/back/apart turn:on/off/over/around
cut:up/off/out/down/open tear:up/off/apart/down break:up/off/apart roll:up/out/over fold:up/over open:up
close:up pour:out/in kick:away/over/back/up carry:away/off/over/in/out/along drag:away/along/off/out
lay:down/out hang:up wipe:off/down/up clean:up/off/out wash:off/down/up wrap:up tie:up/down gather:up
scoop:up/out dig:up/out eat:up drink:up tip:over/out flip:over/up shake:off/out/up squeeze:out beat:up load:up
fill:up/in stack:up spread:out hoist:up haul:up/away/in grab:up snatch:up/away move:away/aside
chase:away/off/down fight:off draw:out/back stretch:out lead:away/in/out guide:along try:on light:up send:back
return:back reach:out show:off sweep:up/away mix:up/in stir:in/up strap:on peel:off bend:over spin:around
swing:around lower:down drop:off press:down shut:off plug:in screw:on slide:over/across pat:down
"""

PHRASAL: dict[str, frozenset[str]] = {
    verb: frozenset(particles.split("/")) for verb, particles in (entry.split(":") for entry in _PHRASAL.split())
}
"""Verb particles that may stand before the object: "picks up the box"."""

NO_ACTS = word_set(
    """
    be have do spot seem appear look become remain stay stand sit lie kneel crouch squat wait rest sleep wear own
    need want like love enjoy hate prefer hope wish think believe know remember forget dream see watch observe hear
    notice face resemble contain include show depict feature display capture illustrate portray consist belong cost
    weigh smile laugh grin frown cry sigh nod blink yawn breathe relax pose gesture walk run jog trot sprint dash
    march wander stroll step jump leap hop skip dance swim float fly glide drift fall rise pause stop arrive leave
    enter exit cross go come travel head proceed hover perch bloom glow shine happen occur seat situate stare gaze
    glance admire miss await suggest indicate make keep let allow cause continue start begin finish try attempt plan
    intend decide refuse fail pretend manage learn practice demonstrate focus concentrate perform exhibit convey
    concern surprise please delight amuse worry bore scare frighten fascinate interest express celebrate spend say
    speak talk tell ask bark meow chirp sing whisper shout scream wag live reflect line frame dominate dot adorn
    border flank hope long yearn care crave illuminate stretch lounge reach wave point lean crash collide paw pounce
    sniff chat interact struggle cling work drum
    """
)
"""Verbs that say no act on a target by themselves: states, positions, perception, feelings, motion in place."""

INTENT = word_set(
    """
    want try attempt plan intend decide refuse fail pretend hope wish long like love prefer need threaten hesitate
    forget prepare ask offer wait learn avoid
    """
)
"""Verbs whose infinitive or gerund need not happen."""

OBJECT_CONTROL = word_set(
    """
    ask tell order help let make see watch observe show depict feature capture film teach hear catch allow cause
    encourage train lead
    """
)
"""Verbs whose object does what the infinitive or gerund says: "helps the girl to lift the box"."""

_IRREGULAR = """
be is are was were been being am | have has had having | do does did done doing | throw threw thrown |
catch caught caught | hold held held | give gave given | take took taken | bring brought brought | lead led led |
feed fed fed | hit hit hit | put put put | set set set | cut cut cut | let let let | shut shut shut |
tear tore torn | break broke broken | bite bit bitten | drive drove driven | ride rode ridden | run ran run |
go went gone goes | come came come | sit sat sat | stand stood stood | lie lay lain lying | lay laid laid |
swing swung swung | spin spun spun | shake shook shaken | strike struck struck | fling flung flung | wear wore worn |
draw drew drawn | write wrote written | eat ate eaten | drink drank drunk | fight fought fought | feel felt felt |
find found found | get got gotten | keep kept kept | leave left left | make made made | meet met met | see saw seen |
sell sold sold | send sent sent | lend lent lent | show showed shown | sing sang sung | sleep slept slept |
slide slid slid | speak spoke spoken | steal stole stolen | swim swam swum | teach taught taught | tell told told |
dig dug dug | hang hung hung | build built built | buy bought bought | hide hid hidden | fly flew flown flies |
fall fell fallen | rise rose risen | sweep swept swept | weave wove woven | shoot shot shot | spread spread spread |
knit knit knit | beat beat beaten | bend bent bent | burn burnt burnt | leap leapt leapt | lean leant leant |
kneel knelt knelt | light lit lit | say said said | hear heard heard | begin began begun | cling clung clung |
tie tied tied tying | die died died dying | pay paid paid | think thought thought | know knew known |
choose chose chosen | become became become | forget forgot forgotten | spit spat spat | split split split |
slit slit slit
"""

MODALS = word_set("will would can could may might shall should must")
BE = word_set("be is are was were been being am 's 're")
HAVE = word_set("have has had having")
DO = word_set("do does did")


def _ratings() -> dict[str, tuple[int, int]]:
    ratings: dict[str, tuple[int, int]] = {}
    rating = (0, 0)
    for word in _ACTS.split():
        if word.isdigit():
            rating = (int(word[0]), int(word[1]))
        else:
            ratings.setdefault(word, rating)
    return ratings


RATINGS = _ratings()
"""Lemma → contactness and dynamism with a direct object."""

LEMMAS = frozenset(RATINGS) | {verb for verb, _ in PREPOSITIONAL} | NO_ACTS | INTENT | OBJECT_CONTROL


@cache
def _forms() -> dict[str, tuple[tuple[str, str], ...]]:
    """Inflected form → (lemma, form) with form one of base, third, past, participle, ing."""
    table: dict[str, list[tuple[str, str]]] = {}

    def add(word: str, lemma: str, form: str) -> None:
        if (lemma, form) not in table.setdefault(word, []):
            table[word].append((lemma, form))

    irregular: dict[str, list[str]] = {}
    for entry in _IRREGULAR.replace("\n", "").split("|"):
        lemma, *forms = entry.split()
        irregular[lemma] = forms
    for lemma in sorted(LEMMAS | set(irregular)):
        add(lemma, lemma, "base")
        if lemma in ("be", "have", "do"):
            continue
        add(_third(lemma), lemma, "third")
        add(_ing(lemma), lemma, "ing")
        if lemma in irregular:
            past, participle, *more = irregular[lemma]
            add(past, lemma, "past")
            add(participle, lemma, "participle")
            for extra in more:
                add(extra, lemma, "ing" if extra.endswith("ing") else "third")
        for regular in () if lemma in irregular else _past(lemma):
            add(regular, lemma, "past")
            add(regular, lemma, "participle")
    return {word: tuple(entries) for word, entries in table.items()}


def _doubles(lemma: str) -> bool:
    vowels = "aeiou"
    short = len(lemma) >= 3 and lemma[-1] not in vowels + "wxy" and lemma[-2] in vowels and lemma[-3] not in vowels
    return short and sum(c in vowels for c in lemma) == 1


def _third(lemma: str) -> str:
    if lemma.endswith(("s", "sh", "ch", "x", "z", "o")):
        return lemma + "es"
    if lemma.endswith("y") and lemma[-2] not in "aeiou":
        return lemma[:-1] + "ies"
    return lemma + "s"


def _ing(lemma: str) -> str:
    if lemma.endswith("e") and not lemma.endswith(("ee", "oe", "ye")):
        return lemma[:-1] + "ing"
    return lemma + (lemma[-1] if _doubles(lemma) else "") + "ing"


def _past(lemma: str) -> tuple[str, ...]:
    if lemma.endswith("e"):
        return (lemma + "d",)
    if lemma.endswith("y") and lemma[-2] not in "aeiou":
        return (lemma[:-1] + "ied",)
    return (lemma + (lemma[-1] if _doubles(lemma) else "") + "ed",)


def verb_forms(word: str) -> tuple[tuple[str, str], ...]:
    """What a lower-case word can be as a form of a known verb: (lemma, form) pairs; empty for a word that cannot."""
    return _forms().get(word, ())


def third_person(lemma: str) -> str:
    """ "push" → "pushes"."""
    return {"be": "is", "have": "has", "do": "does"}.get(lemma) or _third(lemma)


def guess_lemmas(word: str) -> frozenset[str]:
    """Base forms that a lower-case word may have if it is a verb, known or not: what two forms of one verb share."""
    known = {lemma for lemma, _ in verb_forms(word)} | ({"be"} if word in BE else set())
    stems = {word}
    for ending in ("ing", "ed", "es", "s", "d"):
        if word.endswith(ending) and len(word) - len(ending) >= 2:
            stem = word[: -len(ending)]
            stems.add(stem)
            if ending in ("ing", "ed"):
                stems.add(stem + "e")
                if len(stem) > 2 and stem[-1] == stem[-2]:
                    stems.add(stem[:-1])
    if word.endswith(("ies", "ied")):
        stems.add(word[:-3] + "y")
    return frozenset(known or stems)
