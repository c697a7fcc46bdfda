# SPDX-License-Identifier: MIT
"""Writes the byte-level BPE vocabulary of a Hugging Face tokenizer.json as a GGUF file without tensors.

usage: tokenizer_hf_to_gguf.py tokenizer.json PRE out.gguf     (PRE: name of the pre-tokenizer)
"""
import json
import sys

import gguf_write as gw

NORMAL, CONTROL, USER, UNUSED = 1, 3, 4, 5


def convert(source, pre, path):
    with open(source, encoding="utf-8") as file:
        tokenizer = json.load(file)
    tokens = {i: (text, NORMAL) for text, i in tokenizer["model"]["vocab"].items()}
    for added in tokenizer["added_tokens"]:
        tokens[added["id"]] = (added["content"], CONTROL if added["special"] else USER)
    rows = [tokens.get(i, ("[PAD%d]" % i, UNUSED)) for i in range(max(tokens) + 1)]
    merges = [m if isinstance(m, str) else " ".join(m) for m in tokenizer["model"]["merges"]]
    writer = gw.Writer()
    writer.add("general.name", gw.STRING, "vocabulary")
    writer.add("tokenizer.ggml.model", gw.STRING, "gpt2")
    writer.add("tokenizer.ggml.pre", gw.STRING, pre)
    writer.add_array("tokenizer.ggml.tokens", gw.STRING, [text for text, _ in rows])
    writer.add_array("tokenizer.ggml.token_type", gw.INT32, [kind for _, kind in rows])
    writer.add_array("tokenizer.ggml.merges", gw.STRING, merges)
    writer.write(path)


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    convert(*sys.argv[1:])
