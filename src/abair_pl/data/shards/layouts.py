"""Folder structures of data sets, as data: where their images are, how pairs match, how many there are.

Counts are those of the publications and download pages; structures are those of the archives and of their common
re-distributions, as loaders of public repositories read them. None of the archives was at hand when this was written,
except for parts of Kodak24, Rain100H and PolyU; ``shards/README.md`` says what is the least certain.
"""

from abair_pl.data.shards.structure import Layout, Split
from abair_pl.errors import unknown_name

_ANY = ("<name>",)
_FOLDERS = "{input,rainy,rain,lq}", "{target,gt,norain,clean}"
_RAIN = (
    (f"{_FOLDERS[0]}/<n:d>", f"{_FOLDERS[1]}/<n:d>"),
    ("{rainy/,}rain-<n:03d>", "norain-<n:03d>"),
    (f"{_FOLDERS[0]}/rain-<n:03d>", f"{_FOLDERS[1]}/norain-<n:03d>"),
)
_RAIN_SOURCE = "https://www.icst.pku.edu.cn/struct/Projects/joint_rain_removal.html"
_HAZE = (
    ("{hazy,haze,input}/<scene>_<haze>", "{gt,clear,target}/<scene>"),
    ("input/<name>", "target/<name>"),
)
_OUTDOOR_HAZE = (
    (
        "{haze,hazy,OTS,<*:part[1-4]>,haze/<*:part[1-4]>,hazy/<*:part[1-4]>}/<scene>_<haze>",
        "{clear,clear_images,clear/clear_images,gt}/<scene>",
    ),
)
_BLUR = (
    ("<sequence>/blur/<frame>", "<sequence>/sharp/<frame>"),
    ("{input,blur}/<name>", "{target,sharp}/<name>"),
)
_LOW_LIGHT = (("{low,input}/<name>", "{high,target}/<name>"),)
_REAL_LOW_LIGHT = (
    ("Low/low<n:05d>", "Normal/normal<n:05d>"),
    ("{low,input}/<name>", "{normal,high,target}/<name>"),
)
_SNOW = (("{synthetic,input}/<name>", "{gt,target}/<name>"),)
_SNOW_TEST = "{,test/,media/jdway/GameSSD/overlapping/test/}"
_ALL_SNOW = "<size:Snow100K-S|Snow100K-M|Snow100K-L>"
_COMPOSITE = (
    (
        "<damage:low|haze|rain|snow|low_haze|low_rain|low_snow|haze_rain|haze_snow|low_haze_rain|low_haze_snow>/<scene>",
        "clear/<scene>",
    ),
)
_RESEARCH = "research use"

LAYOUTS: dict[str, Layout] = {
    "folder": Layout("clean", {"all": Split(None, "", ("<path:.+>",))}),
    "paired": Layout("paired", {"all": Split(None, "", (("input/<path:.+>", "target/<path:.+>"),))}),
    "gldv2": Layout(
        "clean",
        {
            "train": Split(4_132_914, "{,train/}", ("<*>/<*>/<*>/<id>",)),
            "train_clean": Split(1_580_470, "{,train_clean/,train/}", ("<*>/<*>/<*>/<id>",)),
            "index": Split(761_757, "{,index/}", ("<*>/<*>/<*>/<id>",)),
            "test": Split(117_577, "{,test/}", ("<*>/<*>/<*>/<id>",)),
        },
        "https://github.com/cvdfoundation/google-landmark",
        "Creative Commons or public domain, image by image",
    ),
    "div2k": Layout(
        "clean",
        {
            "train": Split(800, "{,DIV2K_train_HR/,DIV2K/DIV2K_train_HR/}", ("<n:04d>",), range(1, 801)),
            "valid": Split(100, "{,DIV2K_valid_HR/,DIV2K/DIV2K_valid_HR/}", ("<n:04d>",), range(801, 901)),
        },
        "https://data.vision.ee.ethz.ch/cvl/DIV2K/",
        _RESEARCH,
    ),
    "flickr2k": Layout(
        "clean",
        {"all": Split(2650, "{,Flickr2K_HR/,Flickr2K/Flickr2K_HR/}", ("<n:06d>",), range(1, 2651))},
        "https://github.com/limbee/NTIRE2017",
        _RESEARCH,
    ),
    "bsd400": Layout(
        "clean",
        {"all": Split(400, "{,BSD400/,train/,gt/}", _ANY)},
        "https://www2.eecs.berkeley.edu/Research/Projects/CS/vision/bsds/",
        _RESEARCH,
    ),
    "wed": Layout(
        "clean",
        {
            "all": Split(
                4744,
                "{,pristine_images/,exploration_database_and_code/pristine_images/,gt/}",
                ("<n:05d>", *_ANY),
                range(1, 4745),
            )
        },
        "https://ece.uwaterloo.ca/~k29ma/exploration/",
        _RESEARCH,
    ),
    "bsd68": Layout(
        "clean",
        {"all": Split(68, "{,BSD68/,original_png/,gt/}", _ANY)},
        "https://github.com/cszn/DnCNN/tree/master/testsets",
        _RESEARCH,
    ),
    "cbsd68": Layout(
        "clean",
        {"all": Split(68, "{,original_png/,CBSD68/,CBSD68/original_png/,gt/}", _ANY)},
        "https://github.com/clausmichele/CBSD68-dataset",
        _RESEARCH,
    ),
    "kodak24": Layout(
        "clean",
        {"all": Split(24, "{,Kodak24/,kodak/}", ("kodim<n:02d>", *_ANY), range(1, 25))},
        "https://r0k.us/graphics/kodak/",
        "none stated, customarily free",
    ),
    "urban100": Layout(
        "clean",
        {
            "all": Split(
                100,
                "{,HR/,image_SRF_4/,image_SRF_2/,Urban100/,Urban100/HR/,Urban100/image_SRF_4/}",
                ("img_<n:03d>{,_SRF_4_HR,_SRF_2_HR}", "img<n:03d>"),
                range(1, 101),
            )
        },
        "https://github.com/jbhuang0604/SelfExSR",
        "none stated for the photographs",
    ),
    "rain100l": Layout(
        "paired",
        {
            "test": Split(100, "{,test/,Rain100L/}", _RAIN, range(1, 101)),
            "train": Split(200, "{,train/,RainTrainL/}", _RAIN, range(1, 201)),
        },
        _RAIN_SOURCE,
        _RESEARCH,
    ),
    "rain100h": Layout(
        "paired",
        {
            "test": Split(100, "{,test/,Rain100H/}", _RAIN, range(1, 101)),
            "train": Split(1800, "{,train/,RainTrainH/}", _RAIN, range(1, 1801)),
        },
        _RAIN_SOURCE,
        _RESEARCH,
    ),
    "reside_ots": Layout(
        "paired",
        {
            "beta": Split(72_135, "{,OTS/,OTS_BETA/}", _OUTDOOR_HAZE),
            "full": Split(313_950, "{,OTS/,OTS_ALPHA/}", _OUTDOOR_HAZE),
        },
        "https://sites.google.com/view/reside-dehaze-datasets",
        "academic use",
    ),
    "sots_outdoor": Layout(
        "paired",
        {"test": Split(500, "{,outdoor/,SOTS/outdoor/}", _HAZE)},
        "https://sites.google.com/view/reside-dehaze-datasets",
        "academic use",
    ),
    "sots_indoor": Layout(
        "paired",
        {
            "test": Split(
                500,
                "{,nyuhaze500/,indoor/,SOTS/indoor/,SOTS/indoor/nyuhaze500/,SOTS/nyuhaze500/,indoor/nyuhaze500/}",
                _HAZE,
            )
        },
        "https://sites.google.com/view/reside-dehaze-datasets",
        "academic use",
    ),
    "gopro": Layout(
        "paired",
        {
            "train": Split(2103, "{,train/,GOPRO_Large/train/}", _BLUR),
            "test": Split(1111, "{,test/,GOPRO_Large/test/}", _BLUR),
        },
        "https://seungjunnah.github.io/Datasets/gopro",
        "CC BY 4.0",
    ),
    "hide": Layout(
        "paired",
        {
            "test": Split(
                2025,
                "{,HIDE_dataset/}",
                (
                    ("test/<*:test-close-ups|test-long-shot>/<name>", "GT/<name>"),
                    ("{test/,}{input,blur}/<name>", "{test/,}{target,sharp}/<name>"),
                ),
            ),
            "train": Split(6397, "{,HIDE_dataset/}", (("train/<name>", "GT/<name>"),)),
        },
        "https://github.com/joanshen0508/HA_deblur",
        _RESEARCH,
    ),
    "lolv1": Layout(
        "paired",
        {
            "train": Split(485, "{,our485/,LOLdataset/our485/,train/}", _LOW_LIGHT),
            "test": Split(15, "{,eval15/,LOLdataset/eval15/,test/}", _LOW_LIGHT),
        },
        "https://daooshee.github.io/BMVC2018website/",
        _RESEARCH,
    ),
    "lolv2_real": Layout(
        "paired",
        {
            "train": Split(
                689, "{,Train/,Real_captured/Train/,LOL-v2/Real_captured/Train/}", _REAL_LOW_LIGHT, range(1, 690)
            ),
            "test": Split(
                100, "{,Test/,Real_captured/Test/,LOL-v2/Real_captured/Test/}", _REAL_LOW_LIGHT, range(690, 790)
            ),
        },
        "https://github.com/flyywh/CVPR-2020-Semi-Low-Light",
        _RESEARCH,
    ),
    "snow100k": Layout(
        "paired",
        {
            "train": Split(50_000, "{,all/,train/,Snow100K-training/all/}", _SNOW),
            "test": Split(50_000, _SNOW_TEST, ((f"{_ALL_SNOW}/synthetic/<name>", f"{_ALL_SNOW}/gt/<name>"),)),
            "test_s": Split(16_611, f"{_SNOW_TEST}Snow100K-S/", _SNOW),
            "test_m": Split(16_588, f"{_SNOW_TEST}Snow100K-M/", _SNOW),
            "test_l": Split(16_801, f"{_SNOW_TEST}Snow100K-L/", _SNOW),
        },
        "https://sites.google.com/view/yunfuliu/desnownet",
        _RESEARCH,
    ),
    "cdd11": Layout(
        "paired",
        {
            "train": Split(13_013, "{,CDD-11_train/,train/,train/CDD-11_train/}", _COMPOSITE, kinds="damage"),
            "test": Split(2_200, "{,CDD-11_test/,test/,test/CDD-11_test/}", _COMPOSITE, kinds="damage"),
        },
        "https://github.com/gy65896/OneRestore",
        _RESEARCH,
    ),
}


def find_layout(name: str) -> tuple[str, Layout]:
    """A layout's name and what it is; ``clean`` is another name of ``folder``.

    Raises:
        InputError: There is none of this name.
    """
    known = "folder" if name == "clean" else name
    if known not in LAYOUTS:
        raise unknown_name(name, "layout", LAYOUTS)
    return known, LAYOUTS[known]


def find_split(layout: str, name: str | None) -> tuple[str, Split]:
    """A split's name and what it is; the first for None.

    Raises:
        InputError: The layout has none of this name.
    """
    splits = LAYOUTS[layout].splits
    known = name or next(iter(splits))
    if known not in splits:
        raise unknown_name(known, f"split of {layout}", splits)
    return known, splits[known]


def layout_table() -> str:
    """One line for each layout: name, kind, splits with counts, licence and source."""
    lines = []
    for name, layout in LAYOUTS.items():
        splits = ", ".join(f"{split} {part.expected or ''}".strip() for split, part in layout.splits.items())
        lines.append(f"{name:<13}{layout.kind:<8}{splits}")
        if layout.source:
            lines.append(f"{'':<21}{layout.source} ({layout.licence})")
    return "\n".join(lines)
