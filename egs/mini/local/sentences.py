"""Sentences of the mini corpus: colloquial Mandarin from a small grammar.

About 130 distinct characters, with homophones that only the context
disambiguates, which is what a language model can teach a recogniser of
characters:

    ta1  他 她    zai4  在 再    zuo4  做 坐    dian4  电 店    qi1  七 期
    yi1  一 衣 医    kuai4  块 快    wu3  五 午    you3  有 友    shi2/shi4  十 是
    mai3/mai4  买 卖    na3/na4  哪 那    ji1/ji3  机 几    xian1/xian4  先 现

A pronoun appears only if the sentence names the man or the woman, 再 only if
something is done again or later, and so on: a reader can always tell.
"""

import random
from collections.abc import Callable, Sequence

MEN = ("爸爸", "哥哥", "弟弟", "先生")
WOMEN = ("妈妈", "姐姐", "妹妹", "小姐")
DAYS = ("今天", "明天", "昨天")
PARTS_OF_DAY = ("早上", "上午", "中午", "下午", "晚上")
PLACES = ("学校", "医院", "商店", "饭店", "书店", "公司", "北京", "上海", "车站", "电影院")
VEHICLES = ("车", "火车", "飞机")
ACTS = (
    "做饭", "做菜", "看书", "看电影", "看电视", "听音乐", "打电话", "写字", "吃饭", "吃苹果",
    "吃面包", "吃米饭", "喝茶", "喝水", "买衣服", "买书", "买东西", "买苹果", "卖衣服", "卖书",
)  # fmt: skip
GOODS = ("苹果", "面包", "衣服", "书", "茶", "菜", "电视")
DIGITS = "零一二三四五六七八九"
WEEKDAYS = ("一", "二", "三", "四", "五", "六", "天")

Rng = random.Random


def number(n: int) -> str:
    """1..999 in Chinese characters."""
    hundreds, rest = divmod(n, 100)
    tens, ones = divmod(rest, 10)
    said = DIGITS[hundreds] + "百" if hundreds else ""
    if hundreds and rest and not tens:
        said += "零"
    if tens:
        said += ("" if tens == 1 and not hundreds else DIGITS[tens]) + "十"
    return said + (DIGITS[ones] if ones else "")


def clock(rng: Rng) -> str:
    hour = rng.randint(1, 12)
    said = ("两" if hour == 2 else number(hour)) + "点"
    return said + rng.choice(("", "", "半", "半", number(10 * rng.randint(1, 5)) + "分"))


def when(rng: Rng) -> str:
    return rng.choice(
        (
            lambda: rng.choice(DAYS),
            lambda: rng.choice(DAYS) + rng.choice(PARTS_OF_DAY),
            lambda: rng.choice(PARTS_OF_DAY) + clock(rng),
            lambda: "星期" + rng.choice(WEEKDAYS),
            lambda: "星期" + rng.choice(WEEKDAYS) + rng.choice(PARTS_OF_DAY),
            lambda: "现在",
        )
    )()


def later(rng: Rng) -> str:
    return rng.choice(("明天", "明天" + rng.choice(PARTS_OF_DAY), "星期" + rng.choice(WEEKDAYS)))


def price(rng: Rng) -> str:
    whole = rng.choice((rng.randint(1, 20), rng.randint(1, 99), rng.randint(100, 999)))
    said = ("两" if whole == 2 else number(whole)) + "块"
    return said + rng.choice(("钱", "", DIGITS[rng.randint(1, 9)]))


def telephone(rng: Rng) -> str:
    return "".join(rng.choice(DIGITS) for _ in range(rng.randint(3, 6)))


def going(rng: Rng) -> str:
    """Going somewhere, by something."""
    by = rng.choice(("", "坐" + rng.choice(VEHICLES)))
    return by + rng.choice(("去", "到")) + rng.choice(PLACES) + rng.choice(("", rng.choice(ACTS)))


def doing(rng: Rng) -> str:
    """What somebody does, and where."""
    return rng.choice(
        (
            lambda: rng.choice(ACTS),
            lambda: "在" + rng.choice(PLACES + ("家",)) + rng.choice(ACTS),
            lambda: "在" + rng.choice(ACTS),
            lambda: "坐" + rng.choice(VEHICLES) + "回家",
            lambda: going(rng),
            lambda: "不" + rng.choice(ACTS),
        )
    )()


def relative(rng: Rng) -> tuple[str, str]:
    """A man or a woman of the family, and the pronoun."""
    man = rng.random() < 0.5
    name = rng.choice(MEN[:3] if man else WOMEN[:3])
    return rng.choice(("", "我", "你")) + name, "他" if man else "她"


def _identity(rng: Rng) -> str:
    name, pronoun = relative(rng)
    return rng.choice(
        (
            f"{pronoun}是{name}。",
            f"这是{name}，{pronoun}{doing(rng)}。",
            f"那是{name}，{pronoun}很好。",
        )
    )


def _says(rng: Rng) -> str:
    name, pronoun = relative(rng)
    time = rng.choice(("", when(rng)))
    wish = rng.choice(("", "想", "要"))
    return f"{name}说{pronoun}{time}{wish}{doing(rng)}。"


def _again(rng: Rng) -> str:
    name, pronoun = relative(rng)
    return rng.choice(
        (
            f"我们{later(rng)}再{rng.choice(ACTS)}。",
            f"{name}说{pronoun}{later(rng)}再来。",
            f"你不要再{rng.choice(ACTS)}了。",
            f"{pronoun}和{name}想再{going(rng)}。",
        )
    )


def _statement(rng: Rng) -> str:
    who = rng.choice(
        ("我", "你", "我们", "你们", "老师", "我朋友", "学生", "先生", relative(rng)[0])
    )
    time = when(rng)
    return rng.choice(
        (f"{who}{time}{doing(rng)}。", f"{time}{who}{doing(rng)}。", f"{who}{doing(rng)}。")
    )


def _question(rng: Rng) -> str:
    name, pronoun = relative(rng)
    return rng.choice(
        (
            f"你{when(rng)}去哪里？",
            f"{name}在哪里？",
            "现在几点？",
            f"这个{rng.choice(GOODS)}多少钱？",
            f"你有几个{rng.choice(('朋友', '老师', '学生', '哥哥', '妹妹'))}？",
            f"{name}是老师吗？",
            f"{pronoun}是你{name[-2:]}吗？",
            f"你{when(rng)}{doing(rng)}吗？",
        )
    )


def _number_talk(rng: Rng) -> str:
    return rng.choice(
        (
            f"{rng.choice(('这个', '那个', ''))}{rng.choice(GOODS)}{price(rng)}。",
            f"我的电话是{telephone(rng)}。",
            f"{rng.choice(WOMEN + MEN)}的电话是{telephone(rng)}。",
            f"现在是{rng.choice(PARTS_OF_DAY)}{clock(rng)}。",
            f"我有{number(rng.randint(3, 30))}个{rng.choice(('朋友', '学生', '苹果'))}。",
            f"今天是{number(rng.randint(1, 12))}月{number(rng.randint(1, 30))}号。",
        )
    )


def _weather(rng: Rng) -> str:
    return rng.choice(
        (
            f"{rng.choice(DAYS)}{rng.choice(('很热', '很冷', '有雨', '不热', '不冷'))}。",
            f"{rng.choice(('北京', '上海'))}{when(rng)}{rng.choice(('很热', '很冷', '有雨'))}。",
            f"{rng.choice(VEHICLES)}{rng.choice(('很快', '很慢', '开了', '来了', '到了'))}。",
        )
    )


def _short(rng: Rng) -> str:
    """Answers of a few characters; CTC finds its first alignments on them."""
    return rng.choice((clock, price, telephone, when, doing, going))(rng) + "。"


RULES: Sequence[tuple[Callable[[Rng], str], int]] = (
    (_short, 5),
    (_statement, 5),
    (_says, 4),
    (_number_talk, 4),
    (_identity, 3),
    (_again, 3),
    (_question, 3),
    (_weather, 2),
)


def generate(count: int, seed: int) -> list[str]:
    """Distinct sentences, in the order drawn: more sentences continue the list.

    Args:
      count: number of sentences.
      seed: the same seed gives the same sentences on any machine.
    Returns:
      Sentences with punctuation.
    """
    rng = random.Random(seed)
    rules, weights = zip(*RULES)
    sentences: list[str] = []
    seen: set[str] = set()
    while len(sentences) < count:
        sentence = rng.choices(rules, weights)[0](rng)
        if sentence not in seen:
            seen.add(sentence)
            sentences.append(sentence)
    return sentences
