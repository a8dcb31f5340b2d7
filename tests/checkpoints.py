"""Tiny real checkpoints, built by transformers and saved as its users save them.

Every family has a tokenizer trained on the same few sentences and a model of two layers and hidden size 32,
with weights large enough that a wrong one shows, biases and layer norms included.
"""

from __future__ import annotations

import json
import re
import string
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import tokenizers
import torch
import transformers
from safetensors.torch import load_file, save_file
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors, trainers

SEED = 20
transformers.utils.logging.disable_progress_bar()
TEXTS = (
    "The capital of France is Paris, and the capital of Italy is Rome.",
    "I loved every minute of it; the acting was wonderful and the story moved me.",
    "A dull, lifeless film: nobody seemed to care, and neither did I.",
    "Shares fell sharply on Monday after the bank reported smaller profits than expected.",
    "She walked slowly along the river, thinking about what the doctor had told her.",
    "Please reset my password; I cannot log in to my account since yesterday.",
    "The quick brown fox jumps over the lazy dog while 1234567890 birds are singing.",
    "Unbelievable! Naïve café owners in München don't sell crème brûlée anymore.",
    "Is the server down again? The outage started at 09:15 and nobody is answering.",
    "In 1969 two people walked on the moon; millions watched them on television.",
)

LETTERS = string.ascii_lowercase + string.digits
ENDINGS = ("ing", "ed", "ly", "er", "able", "ion")

# family -> what its class names begin with
FAMILIES: Mapping[str, str] = {
    "bert": "Bert",
    "roberta": "Roberta",
    "distilbert": "DistilBert",
    "electra": "Electra",
    "albert": "Albert",
    "xlm-roberta": "XLMRoberta",
    "mpnet": "MPNet",
    "camembert": "Camembert",
    "modernbert": "ModernBert",
    "deberta-v2": "DebertaV2",
}
KINDS: Mapping[str, str] = {
    "base": "Model",
    "label": "ForSequenceClassification",
    "tag": "ForTokenClassification",
    "fill": "ForMaskedLM",
    "answer": "ForQuestionAnswering",
}
AUTO_CLASSES: Mapping[str, Any] = {
    "base": transformers.AutoModel,
    "label": transformers.AutoModelForSequenceClassification,
    "tag": transformers.AutoModelForTokenClassification,
    "fill": transformers.AutoModelForMaskedLM,
}
MAX_LENGTH = 64


def build(
    family: str,
    kind: str,
    path: Path,
    *,
    labels: Sequence[str] = ("negative", "positive"),
    problem_type: str | None = None,
    dtype: str = "float32",
    shards: bool = False,
    rename: Callable[[str], str] | None = None,
    seed: int = SEED,
    **settings: Any,
) -> Path:
    """Save a tiny checkpoint of `family` for `kind` ("base", "label", "tag", "fill", "answer") in `path`.

    `rename` rewrites the names of the weights in the file, `shards` cuts it into several; `settings` go into
    the model's configuration.
    """
    tokenizer = make_tokenizer(family)
    tokenizer.save_pretrained(path)
    config = make_config(family, tokenizer, labels, problem_type, settings)
    model = getattr(transformers, FAMILIES[family] + KINDS[kind])(config)
    randomise(model, seed)
    model.eval().to(getattr(torch, dtype))
    model.save_pretrained(path, max_shard_size="20KB" if shards else "1GB")
    if rename:
        weights = load_file(path / "model.safetensors")
        save_file(
            {rename(name): tensor for name, tensor in weights.items()},
            path / "model.safetensors",
            {"format": "pt"},
        )
    return path


# Encoders that only transformers runs, and what their configuration needs to be small.
FOREIGN: Mapping[str, Mapping[str, Any]] = {
    "big_bird": {"block_size": 4, "num_random_blocks": 1, "attention_type": "block_sparse"},
    "convbert": {"embedding_size": 32, "head_ratio": 2, "conv_kernel_size": 3},
    "data2vec-text": {},
    "deberta": {
        "relative_attention": True,
        "pos_att_type": ["p2c", "c2p"],
        "position_biased_input": False,
        "type_vocab_size": 0,
    },
    "ernie": {},
    "esm": {"position_embedding_type": "rotary"},
    "fnet": {},
    "ibert": {},
    "jina_embeddings_v3": {},
    "layoutlm": {},
    "longformer": {"attention_window": [8, 8]},
    "luke": {"entity_vocab_size": 10, "entity_emb_size": 8},
    "markuplm": {},
    "megatron-bert": {},
    "nomic_bert": {"head_dim": 8},
    "roberta-prelayernorm": {},
    "roc_bert": {"enable_pronunciation": False, "enable_shape": False},
    "roformer": {"embedding_size": 32},
    "squeezebert": {"embedding_size": 32},
    "tapas": {},
    "xlm-roberta-xl": {},
    "xmod": {"languages": ["en_XX"], "default_language": "en_XX"},
}


def build_foreign(model_type: str, kind: str, path: Path, **settings: Any) -> Path:
    """Save a tiny checkpoint of one of the `FOREIGN` for `kind` in `path`, with the tokenizer of BERT."""
    tokenizer = make_tokenizer("bert")
    tokenizer.save_pretrained(path)
    config = transformers.AutoConfig.for_model(
        model_type,
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=MAX_LENGTH + 16,  # some begin to count behind the padding's own
        pad_token_id=tokenizer.pad_token_id,
        **(FOREIGN[model_type] | settings),
    )
    model = AUTO_CLASSES[kind].from_config(config)
    randomise(model, SEED)
    model.eval().save_pretrained(path)
    return path


def make_config(
    family: str,
    tokenizer: transformers.PreTrainedTokenizerBase,
    labels: Sequence[str],
    problem_type: str | None,
    settings: Mapping[str, Any],
) -> transformers.PreTrainedConfig:
    offset = 2 if family in ("roberta", "xlm-roberta", "mpnet", "camembert") else 0
    sizes: dict[str, Any] = {
        "vocab_size": len(tokenizer),
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 64,
        "max_position_embeddings": MAX_LENGTH + offset,
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "id2label": dict(enumerate(labels)),
        "label2id": {label: number for number, label in enumerate(labels)},
        "problem_type": problem_type,
    }
    match family:
        case "distilbert":
            sizes |= {"dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 64}
            sizes = {
                key: value
                for key, value in sizes.items()
                if not key.startswith(("hidden_size", "num_", "inter"))
            }
        case "roberta" | "xlm-roberta" | "camembert":
            sizes |= {"type_vocab_size": 1}
        case "electra" | "albert":
            sizes |= {"embedding_size": 16}
        case "modernbert":
            sizes |= {
                "global_attn_every_n_layers": 2,
                "local_attention": 8,
                "cls_token_id": tokenizer.cls_token_id,
                "sep_token_id": tokenizer.sep_token_id,
            }
        case "deberta-v2":
            # As deberta-v3 has them: relative positions in buckets, shared keys, no absolute positions.
            sizes |= {
                "relative_attention": True,
                "position_buckets": 16,
                "norm_rel_ebd": "layer_norm",
                "share_att_key": True,
                "pos_att_type": ["p2c", "c2p"],
                "position_biased_input": False,
                "max_relative_positions": -1,
                "type_vocab_size": 0,
            }
    config = getattr(transformers, FAMILIES[family] + "Config")
    return config(**(sizes | settings))


def randomise(model: torch.nn.Module, seed: int) -> None:
    """Give every weight a value that matters: matrices of spread 0.3, biases 0.2, layer norms about 1."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.dim() > 1:
                weight.normal_(0, 0.3)
            elif name.endswith("weight"):
                weight.normal_(1, 0.2)
            else:
                weight.normal_(0, 0.2)


def make_tokenizer(family: str) -> transformers.PreTrainedTokenizerBase:
    """A trained tokenizer of a few hundred pieces, in the family's own class."""
    match family:
        case "bert" | "distilbert" | "electra":
            vocabulary = make_wordpiece(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"])
            name = {"electra": "Bert"}.get(family, FAMILIES[family])
            return getattr(transformers, f"{name}Tokenizer")(vocab=vocabulary, model_max_length=MAX_LENGTH)
        case "mpnet":
            vocabulary = make_wordpiece(["<s>", "<pad>", "</s>", "[UNK]", "<mask>"])
            return transformers.MPNetTokenizer(vocab=vocabulary, model_max_length=MAX_LENGTH)
        case "roberta":
            vocabulary, merges = train_byte_level(["<s>", "<pad>", "</s>", "<unk>", "<mask>"])
            mask = tokenizers.AddedToken("<mask>", lstrip=True)  # as RoBERTa's own files have it
            return transformers.RobertaTokenizer(
                vocab=vocabulary, merges=merges, mask_token=mask, model_max_length=MAX_LENGTH
            )
        case "modernbert":
            return make_modernbert_tokenizer()
        case "albert":
            specials = ["<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]"]
            return transformers.AlbertTokenizer(vocab=make_unigram(specials), model_max_length=MAX_LENGTH)
        case "xlm-roberta" | "camembert":
            specials = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
            tokenizer = getattr(transformers, f"{FAMILIES[family]}Tokenizer")
            return tokenizer(vocab=make_unigram(specials), model_max_length=MAX_LENGTH)
        case _:
            specials = ["[PAD]", "[CLS]", "[SEP]", "[UNK]", "[MASK]"]
            return transformers.DebertaV2Tokenizer(vocab=make_unigram(specials), model_max_length=MAX_LENGTH)


def make_wordpiece(specials: list[str]) -> dict[str, int]:
    """Every letter alone and inside a word, some endings, and two words in three of the texts."""
    native = normalizers.BertNormalizer(lowercase=True)
    words = sorted(
        {word for text in TEXTS for word in re.findall(r"\w+|[^\w\s]", native.normalize_str(text))}
    )
    letters = sorted(set("".join(words)) | set(LETTERS))
    inside = [f"##{piece}" for piece in (*letters, *ENDINGS)]
    pieces = [*specials, *letters, *inside, *words[::3], *words[1::3]]
    return {piece: number for number, piece in enumerate(dict.fromkeys(pieces))}


def make_unigram(specials: list[str]) -> list[tuple[str, float]]:
    """The same as pieces of SentencePiece, each with a log-probability of its own."""
    words = sorted({word for text in TEXTS for word in re.findall(r"\w+", text)})
    letters = sorted(set("".join(TEXTS)) | set(LETTERS) - {" "})
    pieces = [*(f"▁{word}" for word in (*words[::3], *words[1::3])), *ENDINGS, "▁", *letters]
    unique = [piece for piece in dict.fromkeys(pieces) if piece != " "]
    scored = [(piece, -5 - number / 50 - 3 * (len(piece) == 1)) for number, piece in enumerate(unique)]
    return [*((token, 0.0) for token in specials), *scored]


def train_byte_level(specials: list[str]) -> tuple[dict[str, int], list[tuple[str, str]]]:
    native = tokenizers.Tokenizer(models.BPE())
    native.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=500, special_tokens=specials, initial_alphabet=alphabet, show_progress=False
    )
    native.train_from_iterator(TEXTS, trainer)
    model = json.loads(native.to_str())["model"]
    return model["vocab"], [tuple(merge) for merge in model["merges"]]


def make_modernbert_tokenizer() -> transformers.PreTrainedTokenizerBase:
    vocabulary, merges = train_byte_level(["[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]"])
    native = tokenizers.Tokenizer(models.BPE(vocab=vocabulary, merges=merges, unk_token=None))
    native.normalizer = normalizers.NFC()
    native.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    native.decoder = decoders.ByteLevel()
    native.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:0 [SEP]:0",
        special_tokens=[("[CLS]", vocabulary["[CLS]"]), ("[SEP]", vocabulary["[SEP]"])],
    )
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=native,
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        pad_token="[PAD]",
        mask_token=tokenizers.AddedToken("[MASK]", lstrip=True),
        model_max_length=MAX_LENGTH,
        model_input_names=["input_ids", "attention_mask"],
    )


SKILLS: Mapping[str, Any] = {
    "sentiment": {"kind": "label", "labels": ["negative", "neutral", "positive"], "pooling": "cls"},
    "topics": {
        "kind": "label",
        "labels": ["sport", "money", "science", "art"],
        "problem_type": "multi_label_classification",
        "pooling": "mean",
    },
    "entities": {"kind": "tag", "labels": ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]},
}


def build_skills(path: Path) -> Path:
    """A BERT with a masked-LM head and three skills of its own: two label heads (one without a dense layer,
    on the mean) and a tag head."""
    build("bert", "fill", path)
    weights = load_file(path / "model.safetensors")
    torch.manual_seed(SEED)
    for name, skill in SKILLS.items():
        weights[f"heads.{name}.classifier.weight"] = torch.randn(len(skill["labels"]), 32) * 0.3
        weights[f"heads.{name}.classifier.bias"] = torch.randn(len(skill["labels"])) * 0.2
    weights["heads.sentiment.dense.weight"] = torch.randn(32, 32) * 0.3
    weights["heads.sentiment.dense.bias"] = torch.randn(32) * 0.2
    save_file(weights, path / "model.safetensors", {"format": "pt"})
    edit_json(path / "config.json", bertcli={"heads": SKILLS})
    return path


TAGS = ("O", *(f"{prefix}-{kind}" for kind in ("PER", "LOC", "ORG") for prefix in "BI"))


def build_tagger(family: str, path: Path, *, labels: Sequence[str] = TAGS) -> Path:
    """A token classifier that finds something of everything, and most often the first label: a random one
    would give every token the same."""
    build(family, "tag", path, labels=labels)
    tokenizer = transformers.AutoTokenizer.from_pretrained(path)
    model = transformers.AutoModelForTokenClassification.from_pretrained(path).eval()
    with torch.no_grad():
        logits = torch.cat([model(**tokenizer(text, return_tensors="pt")).logits[0] for text in TEXTS])
    weights = load_file(path / "model.safetensors")
    scale = 3 / logits.std(dim=0)
    weights["classifier.weight"] *= scale[:, None]
    weights["classifier.bias"] = (weights["classifier.bias"] - logits.mean(dim=0)) * scale
    weights["classifier.bias"][0] += 2
    save_file(weights, path / "model.safetensors", {"format": "pt"})
    return path


def build_sentence(
    path: Path,
    *,
    family: str = "bert",
    mode: str = "mean",
    normalize: bool = True,
    max_length: int = 32,
    prompts: Mapping[str, str] | None = None,
    default_prompt: str | None = None,
) -> Path:
    """A checkpoint as sentence-transformers saves one: modules, pooling, normalisation, prompts."""
    build(family, "base", path)
    kinds = ["Transformer", "Pooling"] + ["Normalize"] * normalize
    folders = ["", "1_Pooling", "2_Normalize"]
    modules = [
        {"idx": number, "name": str(number), "path": folder, "type": f"sentence_transformers.models.{kind}"}
        for number, (kind, folder) in enumerate(zip(kinds, folders, strict=False))
    ]
    pooling = {
        f"pooling_mode_{name}": name.startswith(mode) for name in ("cls_token", "mean_tokens", "max_tokens")
    }
    for folder in folders[1 : len(kinds)]:
        (path / folder).mkdir()
    write_json(path / "modules.json", modules)
    write_json(path / "1_Pooling" / "config.json", {"word_embedding_dimension": 32} | pooling)
    write_json(path / "sentence_bert_config.json", {"max_seq_length": max_length, "do_lower_case": False})
    write_json(
        path / "config_sentence_transformers.json",
        {
            "prompts": dict(prompts or {}),
            "default_prompt_name": default_prompt,
            "similarity_fn_name": "cosine",
        },
    )
    return path


def gamma_beta(name: str) -> str:
    """Layer-norm weights under the names TensorFlow gave them."""
    return name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")


def bare(name: str) -> str:
    """BERT's encoder weights without `bert.` in front."""
    return name.removeprefix("bert.")


def write_json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, indent=2), encoding="utf-8")


def edit_json(path: Path, **changes: Any) -> None:
    """Change keys of a JSON object on disk; None as a value removes the key."""
    content = json.loads(path.read_text(encoding="utf-8")) | changes
    write_json(path, {key: value for key, value in content.items() if value is not None})
