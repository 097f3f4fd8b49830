import pytest

from gantrain.data.readers.layout import Layout
from gantrain.errors import Notice, UserError


def parts(*names):
    layout = Layout(names, "here")
    return layout.classes, {p: layout.labels(p) for p in ("train", "validation", "test") if layout.has(p)}


def test_folders_are_classes_in_the_order_of_their_names():
    classes, found = parts("dog/2.png", "cat/9.png", "dog/1.JPG")
    assert classes == ("cat", "dog")
    assert list(found["train"].items()) == [("cat/9.png", 0), ("dog/1.JPG", 1), ("dog/2.png", 1)]


def test_images_in_no_folder_have_no_labels():
    assert parts("b.png", "a.png") == ((), {"train": {"a.png": None, "b.png": None}})


def test_one_class():
    assert parts("cat/1.png", "cat/2.png") == (("cat",), {"train": {"cat/1.png": 0, "cat/2.png": 0}})


def test_parts_share_the_numbers_of_the_classes():
    classes, found = parts("train/c/1.png", "train/a/1.png", "test/c/2.png", "val/b/3.png")
    assert classes == ("a", "b", "c")
    assert found == {
        "train": {"train/a/1.png": 0, "train/c/1.png": 2},
        "validation": {"val/b/3.png": 1},
        "test": {"test/c/2.png": 2},
    }


@pytest.mark.parametrize("around", ["", "./", "cifar/", "./data/cifar/", "../up/", "/absolute/path/"])
def test_folders_around_everything_are_passed_through(around):
    names = [f"{around}{part}/{k}/1.png" for part in ("train", "test") for k in ("x", "y")]
    classes, found = parts(*names)
    assert classes == ("x", "y")
    assert found == {"train": {names[0]: 0, names[1]: 1}, "test": {names[2]: 0, names[3]: 1}}


def test_a_part_alone_is_that_part_with_or_without_classes():
    assert parts("test/a/1.png") == (("a",), {"test": {"test/a/1.png": 0}})
    assert parts("Testing/1.png") == ((), {"test": {"Testing/1.png": None}})


def test_a_class_may_be_called_like_a_part_and_a_line_says_so():
    with pytest.warns(
        Notice, match="the folder train in here is taken for a class, since it lies beside car; for a part"
    ):
        classes, _ = parts("train/1.png", "car/1.png", "plane/1.png")
    assert classes == ("car", "plane", "train")


@pytest.mark.parametrize("other", ["extra/1.png", "extra/cat/1.png"])
def test_other_folders_beside_several_parts_are_refused(other):
    message = "^data.path: the folder extra lies beside the parts test, train in here; expected parts alone"
    with pytest.raises(UserError, match=message):
        Layout(["train/cat/1.png", "train/dog/1.png", "test/cat/1.png", other], "here")


def test_deeper_folders_belong_to_the_class_around_them():
    classes, found = parts("cat/1.png", "cat/old/2.png", "dog/new/3.png")
    assert classes == ("cat", "dog")
    assert found["train"] == {"cat/1.png": 0, "cat/old/2.png": 0, "dog/new/3.png": 1}


def test_other_files_and_hidden_ones_are_passed_over():
    names = ["a/1.png", "b/1.png", "readme.txt", ".DS_Store", "a/._1.png", "__MACOSX/a/1.png", ".cache/2.png", "a/"]
    assert parts(*names) == (("a", "b"), {"train": {"a/1.png": 0, "b/1.png": 1}})


@pytest.mark.parametrize("names", [(), ("a.txt",), ("train/", "test/")])
def test_nothing_to_see(names):
    with pytest.raises(UserError, match=r"data.path: no image in here; expected files called .*\.png"):
        Layout(names, "here")


def test_images_beside_class_folders_are_refused():
    with pytest.raises(UserError, match="data.path: 0.png lies beside the class folder a in here"):
        Layout(["a/1.png", "0.png", "b/1.png"], "here")
    with pytest.raises(UserError, match="test/1.png lies beside the class folder a"):
        Layout(["train/a/1.png", "test/1.png"], "here")


def test_a_part_that_is_not_there():
    with pytest.raises(UserError, match="data.split: no folder test in here; its images are those of train"):
        Layout(["a/1.png", "b/1.png"], "here").labels("test")
