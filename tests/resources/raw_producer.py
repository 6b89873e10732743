"""A producer of header names that are not UTF-8, which confluent-kafka's own producer cannot write.

It calls the librdkafka that confluent-kafka brings along, so that a test can send what a C client might.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from pathlib import Path

import confluent_kafka

_TOPIC, _PARTITION, _VALUE, _KEY, _FLAGS, _HEADER = 1, 3, 4, 5, 7, 9
_COPY = 2


class _Memory(ctypes.Structure):
    _fields_ = (("mem", ctypes.c_char_p), ("size", ctypes.c_size_t))


class _Header(ctypes.Structure):
    _fields_ = (("name", ctypes.c_char_p), ("val", ctypes.c_char_p), ("size", ctypes.c_ssize_t))


class _Union(ctypes.Union):
    _fields_ = (
        ("cstr", ctypes.c_char_p),
        ("i", ctypes.c_int),
        ("i32", ctypes.c_int32),
        ("mem", _Memory),
        ("header", _Header),
        ("pad", ctypes.c_char * 64),
    )


class _Argument(ctypes.Structure):
    _fields_ = (("vtype", ctypes.c_int), ("u", _Union))


def produce_raw(
    config: Mapping[str, str],
    topic: str,
    partition: int,
    key: bytes,
    value: bytes,
    headers: Sequence[tuple[bytes, bytes]],
) -> None:
    """Send one record and wait for it; header names are bytes (without a zero byte)."""
    library = ctypes.CDLL(str(_library()))
    library.rd_kafka_conf_new.restype = ctypes.c_void_p
    library.rd_kafka_new.restype = ctypes.c_void_p
    library.rd_kafka_produceva.restype = ctypes.c_void_p
    text = ctypes.create_string_buffer(512)
    conf = ctypes.c_void_p(library.rd_kafka_conf_new())
    for name, setting in config.items():
        if library.rd_kafka_conf_set(conf, name.encode(), setting.encode(), text, ctypes.c_size_t(512)) != 0:
            raise RuntimeError(text.value.decode())
    client = ctypes.c_void_p(library.rd_kafka_new(0, conf, text, ctypes.c_size_t(512)))
    if not client.value:
        raise RuntimeError(text.value.decode())
    arguments = [
        _Argument(_TOPIC, _Union(cstr=topic.encode())),
        _Argument(_PARTITION, _Union(i32=partition)),
        _Argument(_FLAGS, _Union(i=_COPY)),
        _Argument(_VALUE, _Union(mem=_Memory(value, len(value)))),
        _Argument(_KEY, _Union(mem=_Memory(key, len(key)))),
        *(_Argument(_HEADER, _Union(header=_Header(name, content, len(content)))) for name, content in headers),
    ]
    array = (_Argument * len(arguments))(*arguments)
    error = library.rd_kafka_produceva(client, array, ctypes.c_size_t(len(arguments)))
    if error:
        raise RuntimeError(f"rd_kafka_produceva refused the record of topic {topic}")
    if library.rd_kafka_flush(client, ctypes.c_int(20_000)) != 0:
        raise RuntimeError(f"the record of topic {topic} was not acknowledged in 20 s")
    library.rd_kafka_destroy(client)


def _library() -> Path:
    folder = Path(confluent_kafka.__file__).parent.parent / "confluent_kafka.libs"
    return next(folder.glob("librdkafka*.so*"))
