# cython: language_level=3
"""SHA-1, for the UUIDs of elements (`ids.element_uuid`): a call of hashlib takes longer than the rest of an element."""

from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memcpy, memset

ctypedef unsigned char byte


cdef inline uint32_t rotate(uint32_t value, int bits) noexcept nogil:
    return value << bits | value >> (32 - bits)


cdef inline void sha1_block(uint32_t* state, const byte* block) noexcept nogil:
    cdef uint32_t words[80]
    cdef uint32_t a = state[0], b = state[1], c = state[2], d = state[3], e = state[4], mixed
    cdef int t
    for t in range(16):
        words[t] = (<uint32_t>block[4 * t] << 24 | <uint32_t>block[4 * t + 1] << 16
                    | <uint32_t>block[4 * t + 2] << 8 | block[4 * t + 3])
    for t in range(16, 80):
        words[t] = rotate(words[t - 3] ^ words[t - 8] ^ words[t - 14] ^ words[t - 16], 1)
    for t in range(20):
        mixed = rotate(a, 5) + (d ^ (b & (c ^ d))) + e + 0x5A827999 + words[t]
        e, d, c, b, a = d, c, rotate(b, 30), a, mixed
    for t in range(20, 40):
        mixed = rotate(a, 5) + (b ^ c ^ d) + e + 0x6ED9EBA1 + words[t]
        e, d, c, b, a = d, c, rotate(b, 30), a, mixed
    for t in range(40, 60):
        mixed = rotate(a, 5) + ((b & c) | (d & (b | c))) + e + <uint32_t>0x8F1BBCDC + words[t]
        e, d, c, b, a = d, c, rotate(b, 30), a, mixed
    for t in range(60, 80):
        mixed = rotate(a, 5) + (b ^ c ^ d) + e + <uint32_t>0xCA62C1D6 + words[t]
        e, d, c, b, a = d, c, rotate(b, 30), a, mixed
    state[0] += a
    state[1] += b
    state[2] += c
    state[3] += d
    state[4] += e


cdef inline void sha1(const byte* message, Py_ssize_t length, byte* digest) noexcept nogil:
    cdef uint32_t state[5]
    cdef byte block[64]
    cdef uint64_t bits = <uint64_t>length * 8
    cdef int index
    state[0], state[1], state[2], state[3], state[4] = 0x67452301, 0xEFCDAB89, 0x98BADCFE, 0x10325476, 0xC3D2E1F0
    while length >= 64:
        sha1_block(state, message)
        message += 64
        length -= 64
    memset(block, 0, 64)
    memcpy(block, message, length)
    block[length] = 0x80
    if length >= 56:
        sha1_block(state, block)
        memset(block, 0, 64)
    for index in range(8):
        block[63 - index] = <byte>(bits >> 8 * index)
    sha1_block(state, block)
    for index in range(20):
        digest[index] = <byte>(state[index >> 2] >> (24 - 8 * (index & 3)))
