"""What is for training and what for tests: a hash decides, so that nothing is in both."""

from c3.support.text_position import position_of

SPLITS = "train", "test"
# The share of the documents of a corpus that is for tests.
TEST_DOCUMENTS = 0.1


def in_split(split, text, test_share=0.5):
    """
    Whether a word, a number or a document, `str`, belongs to a split. `test_share` is the share of all such that is for
    tests.
    """
    return (position_of(text, "questions") < test_share) == (split == "test")
