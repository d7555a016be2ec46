"""Words of a text, as the word metrics count them."""

import re

from c3.support.errors import pip_install

# Chinese characters: unified ideographs with their extension A, and the compatibility ideographs.
_CHINESE = re.compile("[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]")


def is_chinese(text):
    """Whether a text holds a Chinese character, which is what the Fox tool asks before it calls jieba."""
    return bool(_CHINESE.search(text))


def split_words(text, chinese):
    """
    Words of a text: what white space separates, or, where `chinese` is true, what jieba's accurate mode cuts
    (https://github.com/fxsjy/jieba), without pieces that are only white space.

    Returns: `list[str]`.

    Raises: `ValueError` where `chinese` is true and jieba is not installed.
    """
    if not chinese:
        return text.split()
    return [word for word in _jieba().lcut(text) if not word.isspace()]


def check_segmenter(texts):
    """Raises the `ValueError` of `split_words` before the work, if any of the texts will need jieba."""
    if any(map(is_chinese, texts)):
        _jieba()


def _jieba():
    try:
        import jieba
    except ImportError:
        raise ValueError(f"the words of Chinese text need jieba: {pip_install('chinese')}") from None
    # It reports on standard error how long its dictionary took to load.
    jieba.setLogLevel("WARNING")
    return jieba
