#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A loopback HTTP server that misbehaves on request: for the tests of net and of the samplers.

Prints its port on the first line of stdout and serves until it is killed. The first path segment says
how to behave: MODE;KEY=VALUE;...  Every mode but `ok` takes times=N: only the first N requests with
this same segment fail, later ones go well. Going well means an OpenAI-like answer below /v1/ and
otherwise a JSON description of the request. /log/KEY lists the requests whose segment holds key=KEY.
"""

import gzip
import json
import re
import socket
import socketserver
import struct
import sys
import threading
import time
import urllib.parse

lock = threading.Lock()
counts = {}
log = []


class Request:
    def __init__(self, method, target, headers, body):
        self.method, self.target, self.headers, self.body = method, target, headers, body
        segment, _, rest = target.lstrip("/").partition("/")
        self.segment = segment
        self.rest = "/" + rest
        parts = urllib.parse.unquote(segment.split("?")[0]).split(";")
        self.mode = parts[0]
        self.extra_headers = []
        self.options = {}
        for part in parts[1:]:
            key, _, value = part.partition("=")
            if key == "h":
                name, _, text = value.partition(":")
                self.extra_headers.append((name, text))
            else:
                self.options[key] = value

    def option(self, key, default):
        return type(default)(self.options.get(key, default))


def answer_bytes(status, body, content_type="application/json", headers=()):
    lines = ["HTTP/1.1 %d X" % status, "Content-Type: " + content_type,
             "Content-Length: %d" % len(body)]
    lines += ["%s: %s" % pair for pair in headers]
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + body


# ---- A model of sorts ---------------------------------------------------------------------------

def tokens_of(text):
    return re.findall(r" ?[^\s]{1,4}|\s", text)


def logprob_of(token, index):
    return None if index == 0 else -0.125 * (1 + (len(token.encode()) * 7 + index) % 16)


def error_json(message, code=None, kind="invalid_request_error"):
    return {"error": {"message": message, "type": kind, "code": code, "param": None}}


def completion_choice(prompt, body, index):
    model = body.get("model", "")
    generated = {0: "", 1: " mock"}.get(body.get("max_tokens", 16), " mock %d" % index)
    if model == "lying-usage":
        generated = " mock more"  # two tokens where one was asked for and one is reported
    text = prompt + generated if body.get("echo") else generated
    choice = {"index": index, "text": text, "finish_reason": "length", "logprobs": None}
    if body.get("logprobs") is not None and model != "no-logprobs":
        tokens = tokens_of(text)
        if model == "prompt-only":  # the generated token is in the text and the usage alone
            tokens = tokens_of(prompt)
        if model == "bos":  # an invisible first token shifts all offsets
            tokens = ["<s>"] + tokens
        offsets, at = [], 0
        for token in tokens:
            offsets.append(at)
            at += len(token)
        logprobs = [logprob_of(t, i) for i, t in enumerate(tokens)]
        if model == "short-logprobs":
            logprobs = logprobs[:-1]
        # Every even token is the most likely one; beside the others stands a better one.
        top = [None if p is None else ({t: p} if i % 2 == 0 else {"<best>": p + 0.1, t: p})
               for i, (t, p) in enumerate(zip(tokens, logprobs))]
        if model == "shifted":  # what belongs to the next token
            logprobs = logprobs[1:] + [-1.0]
            top = [{t: -0.01} for t in tokens[1:]] + [{"x": -0.01}]
        if model == "marked-spaces":  # texts of tokens that do not spell the text
            tokens = [t.replace(" ", "\u2581") for t in tokens]
        choice["logprobs"] = {"tokens": tokens, "token_logprobs": logprobs,
                              "text_offset": offsets, "top_logprobs": top}
    return choice


def completions(body):
    model = body.get("model", "")
    if body.get("echo") and model == "no-echo":
        return 400, error_json("echo is not supported")
    prompts = body["prompt"] if isinstance(body["prompt"], list) else [body["prompt"]]
    if model == "ignores-echo":
        body = dict(body, echo=False)
    n = body.get("n") or 1
    choices = [completion_choice(prompt, body, i * n + j)
               for i, prompt in enumerate(prompts) for j in range(n)]
    used = sum(len(tokens_of(prompt)) for prompt in prompts)
    return 200, {"id": "cmpl-1", "object": "text_completion", "model": model, "choices": choices,
                 "usage": {"prompt_tokens": used, "completion_tokens": len(choices)}}


def chat_message(model, text):
    if model == "null-content":
        return {"role": "assistant", "content": None}, "stop"
    if model == "refusal":
        return {"role": "assistant", "content": None, "refusal": "I can not help."}, "stop"
    if model == "tools":
        call = {"id": "c1", "type": "function",
                "function": {"name": "add", "arguments": "{\"a\": 1}"}}
        return {"role": "assistant", "content": None, "tool_calls": [call]}, "tool_calls"
    if model == "reasoning":
        return {"role": "assistant", "content": "4", "reasoning_content": "2+2"}, "stop"
    if model == "filter":
        return {"role": "assistant", "content": ""}, "content_filter"
    return {"role": "assistant", "content": "mock: " + text}, "stop"


def chat(body):
    model = body.get("model", "")
    messages = body["messages"]
    text = messages[-1]["content"] if messages else ""
    choices = []
    for i in range(1 if model == "one-only" else body.get("n") or 1):
        message, finish = chat_message(model, text)
        choice = {"index": i, "message": message, "finish_reason": finish, "logprobs": None}
        if body.get("logprobs"):
            choice["logprobs"] = {"content": [
                {"token": t, "logprob": -0.5, "bytes": None,
                 "top_logprobs": [{"token": t, "logprob": -0.5}, {"token": "x", "logprob": -2}]}
                for t in tokens_of(message["content"] or "")]}
        choices.append(choice)
    if model == "no-choices":
        choices = []
    usage = {"prompt_tokens": sum(len(tokens_of(m["content"])) for m in messages),
             "completion_tokens": 3, "prompt_tokens_details": {"cached_tokens": 2},
             "completion_tokens_details": {"reasoning_tokens": 1}}
    reply = {"id": "chatcmpl-1", "object": "chat.completion", "model": model, "choices": choices,
             "usage": usage}
    if model == "no-usage":
        del reply["usage"]
    return 200, reply


def openai(request):
    body = json.loads(request.body or b"{}")
    model = body.get("model", "")
    if model == "context":
        return 400, error_json("This model's maximum context length is 8 tokens.",
                               "context_length_exceeded")
    if model == "error-in-200":
        return 200, error_json("the model does not exist", "model_not_found")
    if model == "hostile":
        return 200, {"choices": 7, "usage": [1], "id": None}
    if request.rest.endswith("/chat/completions"):
        return chat(body)
    if request.rest.endswith("/completions"):
        return completions(body)
    return 404, error_json("no such route")


def well(request, n):
    if request.rest.startswith("/v1/"):
        status, reply = openai(request)
    else:
        status = 200
        reply = {"method": request.method, "path": request.target, "n": n,
                 "headers": request.headers, "body": request.body.decode("latin-1")}
    return status, json.dumps(reply).encode()


# ---- Modes: each writes to the connection and says whether it stays open ------------------------

def mode_status(c, r, n):
    body = r.option("body", "").encode() or b'{"error":{"message":"told to"}}'
    body = body.replace(b"@auth", r.headers.get("authorization", "").encode())
    c.sendall(answer_bytes(r.option("code", 500), body, headers=r.extra_headers))
    return True


def mode_cut(c, r, n):
    c.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n0123456789")
    return False


def mode_cutchunk(c, r, n):
    c.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
    return False


def mode_halfjson(c, r, n):
    """An answer that ends with the connection, in the middle: a success to any HTTP library."""
    _, body = well(r, n)
    c.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + body[:len(body) // 2])
    return False


def mode_html(c, r, n):
    c.sendall(answer_bytes(200, b"<html><body>gateway</body></html>", "text/html"))
    return True


def mode_slowheader(c, r, n):
    time.sleep(r.option("s", 30.0))
    return False


def mode_slowbody(c, r, n):
    c.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n0")
    time.sleep(r.option("s", 30.0))
    return False


def mode_huge(c, r, n):
    left = r.option("bytes", 1 << 20)
    c.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while left > 0:
        piece = b"x" * min(left, 65536)
        c.sendall(b"%x\r\n%s\r\n" % (len(piece), piece))
        left -= len(piece)
    c.sendall(b"0\r\n\r\n")
    return True


def mode_gzip(c, r, n):
    _, body = well(r, n)
    c.sendall(answer_bytes(200, gzip.compress(body), headers=[("Content-Encoding", "gzip")]))
    return True


def mode_gzipbomb(c, r, n):
    body = gzip.compress(b"\0" * r.option("bytes", 1 << 25))
    c.sendall(answer_bytes(200, body, headers=[("Content-Encoding", "gzip")]))
    return True


def mode_badgzip(c, r, n):
    c.sendall(answer_bytes(200, b"this is not gzip", headers=[("Content-Encoding", "gzip")]))
    return True


def mode_garbage(c, r, n):
    c.sendall(b"\x00\x01\x02 not http at all\r\n\r\n")
    return False


def mode_empty(c, r, n):
    return False


def mode_reset(c, r, n):
    c.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    return False


def mode_bigheader(c, r, n):
    c.sendall(b"HTTP/1.1 200 OK\r\nX: " + b"y" * 400000 + b"\r\nContent-Length: 0\r\n\r\n")
    return True


def mode_manyheaders(c, r, n):
    c.sendall(b"HTTP/1.1 200 OK\r\n" + b"X-Header: 0123456789\r\n" * 20000 +
              b"Content-Length: 0\r\n\r\n")
    return True


def mode_redirect(c, r, n):
    """to=same: on to /ok here; to=other: the same under another host name; to=loop; to=file."""
    host = r.headers.get("host", "")
    port = host.rpartition(":")[2]
    target = {"same": "/ok;key=%s/after" % r.option("key", ""),
              "other": "http://localhost:%s/ok;key=%s/after" % (port, r.option("key", "")),
              "range": "http://localhost:%s/range;key=%s" % (port, r.option("key", "")),
              "loop": r.target, "file": "file:///etc/passwd",
              "user": "http://a:b@127.0.0.1:%s/ok" % port}[r.option("to", "same")]
    c.sendall(answer_bytes(r.option("code", 307), b"moved", headers=[("Location", target)]))
    return True


def resource(size):
    return bytes((i * 31 + i // 251) % 256 for i in range(size))


def mode_range(c, r, n):
    """A resource of size=N bytes; cutat=K: the first answer stops after K bytes; norange=1."""
    data = resource(r.option("size", 10000))
    start = 0
    match = re.fullmatch(r"bytes=(\d+)-", r.headers.get("range", ""))
    lines = ["HTTP/1.1 200 OK"]
    if match and not r.option("norange", 0):
        start = int(match.group(1))
        if start >= len(data):
            c.sendall(answer_bytes(416, b"too far"))
            return True
        lines = ["HTTP/1.1 206 Partial", "Content-Range: bytes %d-%d/%d" %
                 (start + r.option("shift", 0), len(data) - 1, len(data))]
    body = data[start:]
    lines.append("Content-Length: %d" % len(body))
    cut = r.option("cutat", 0)
    if cut and n <= r.option("cuts", 1):
        c.sendall(("\r\n".join(lines) + "\r\n\r\n").encode() + body[:cut])
        return False
    c.sendall(("\r\n".join(lines) + "\r\n\r\n").encode() + body)
    return True


MODES = {name[5:]: f for name, f in list(globals().items()) if name.startswith("mode_")}
ALWAYS = {"range", "gzip"}


class Handler(socketserver.BaseRequestHandler):
    def read_request(self):
        while b"\r\n\r\n" not in self.buffer:
            piece = self.request.recv(65536)
            if not piece:
                return None
            self.buffer += piece
        head, _, self.buffer = self.buffer.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        method, target, _ = first.split(" ", 2)
        headers = {}
        for line in lines:
            name, _, value = line.partition(":")
            headers[name.strip().lower()] = value.strip()
        length = int(headers.get("content-length", 0))
        while len(self.buffer) < length:
            piece = self.request.recv(65536)
            if not piece:
                return None
            self.buffer += piece
        body, self.buffer = self.buffer[:length], self.buffer[length:]
        return Request(method, target, headers, body)

    def answer(self, request):
        c = self.request
        if request.mode == "log":
            key = request.rest.strip("/")
            with lock:
                found = [r for r in log if r["key"] == key]
            c.sendall(answer_bytes(200, json.dumps(found).encode()))
            return True
        with lock:
            n = counts[request.segment] = counts.get(request.segment, 0) + 1
            log.append({"key": request.options.get("key"), "method": request.method,
                        "path": request.target, "headers": request.headers,
                        "body": request.body.decode("latin-1"), "time": time.monotonic(),
                        "connection": id(self)})
            del log[:-500]
        if request.mode == "stale":  # a kept connection is closed when it is used again
            self.used += 1
            if self.used > 1:
                return False
        mode = MODES.get(request.mode)
        if mode and (request.mode in ALWAYS or n <= request.option("times", 1 << 30)):
            return mode(c, request, n)
        status, body = well(request, n)
        c.sendall(answer_bytes(status, body, headers=request.extra_headers))
        return True

    def handle(self):
        self.buffer = b""
        self.used = 0
        self.request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            while True:
                request = self.read_request()
                if request is None or not self.answer(request):
                    break
        except (ConnectionError, BrokenPipeError):
            pass


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 256


if __name__ == "__main__":
    with Server(("127.0.0.1", 0), Handler) as server:
        print(server.server_address[1], flush=True)
        sys.stdout.close()
        server.serve_forever()
