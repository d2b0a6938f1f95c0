# cython: language_level=3
"""SHA-1, for the UUIDs of elements (`ids.element_uuid`): a call of hashlib takes longer than the rest of an element.

Processors that have instructions for it need a fifth of the time: `sha1_block_fast` returns False on all others.
"""

from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memcpy, memset

ctypedef unsigned char byte


cdef extern from *:
    r"""
    #if defined(__x86_64__) && defined(__GNUC__)
    #include <cpuid.h>
    #include <immintrin.h>

    static int sha1_is_fast(void) {
        static int known = -1;
        unsigned int a, b, c, d;
        if (known < 0) {
            known = __get_cpuid(1, &a, &b, &c, &d) && (c & (1u << 9)) && (c & (1u << 19))  /* SSSE3, SSE4.1 */
                    && __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b & (1u << 29));  /* SHA */
        }
        return known;
    }

    /* Four rounds: `words` are theirs, `e` becomes that of the next four. */
    #define SHA1_ROUNDS(words, e, next, function) \
        e = _mm_sha1nexte_epu32(e, words); next = abcd; abcd = _mm_sha1rnds4_epu32(abcd, e, function);
    /* The words of four rounds, from those of the sixteen before. */
    #define SHA1_WORDS(w0, w1, w2, w3) \
        w0 = _mm_sha1msg2_epu32(_mm_xor_si128(_mm_sha1msg1_epu32(w0, w1), w2), w3);

    __attribute__((target("sha,sse4.1,ssse3")))
    static void sha1_block_of_processor(unsigned int *state, const unsigned char *block) {
        const __m128i order = _mm_set_epi64x(0x0001020304050607LL, 0x08090a0b0c0d0e0fLL);
        __m128i abcd = _mm_shuffle_epi32(_mm_loadu_si128((const __m128i *)state), 0x1B);
        __m128i e0 = _mm_set_epi32((int)state[4], 0, 0, 0), e1, w0, w1, w2, w3;
        const __m128i abcd_before = abcd, e_before = e0;
        w0 = _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)block), order);
        w1 = _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)(block + 16)), order);
        w2 = _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)(block + 32)), order);
        w3 = _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)(block + 48)), order);
        e0 = _mm_add_epi32(e0, w0); e1 = abcd; abcd = _mm_sha1rnds4_epu32(abcd, e0, 0);
        SHA1_ROUNDS(w1, e1, e0, 0)
        SHA1_ROUNDS(w2, e0, e1, 0)
        SHA1_ROUNDS(w3, e1, e0, 0)
        SHA1_WORDS(w0, w1, w2, w3) SHA1_ROUNDS(w0, e0, e1, 0)
        SHA1_WORDS(w1, w2, w3, w0) SHA1_ROUNDS(w1, e1, e0, 1)
        SHA1_WORDS(w2, w3, w0, w1) SHA1_ROUNDS(w2, e0, e1, 1)
        SHA1_WORDS(w3, w0, w1, w2) SHA1_ROUNDS(w3, e1, e0, 1)
        SHA1_WORDS(w0, w1, w2, w3) SHA1_ROUNDS(w0, e0, e1, 1)
        SHA1_WORDS(w1, w2, w3, w0) SHA1_ROUNDS(w1, e1, e0, 1)
        SHA1_WORDS(w2, w3, w0, w1) SHA1_ROUNDS(w2, e0, e1, 2)
        SHA1_WORDS(w3, w0, w1, w2) SHA1_ROUNDS(w3, e1, e0, 2)
        SHA1_WORDS(w0, w1, w2, w3) SHA1_ROUNDS(w0, e0, e1, 2)
        SHA1_WORDS(w1, w2, w3, w0) SHA1_ROUNDS(w1, e1, e0, 2)
        SHA1_WORDS(w2, w3, w0, w1) SHA1_ROUNDS(w2, e0, e1, 2)
        SHA1_WORDS(w3, w0, w1, w2) SHA1_ROUNDS(w3, e1, e0, 3)
        SHA1_WORDS(w0, w1, w2, w3) SHA1_ROUNDS(w0, e0, e1, 3)
        SHA1_WORDS(w1, w2, w3, w0) SHA1_ROUNDS(w1, e1, e0, 3)
        SHA1_WORDS(w2, w3, w0, w1) SHA1_ROUNDS(w2, e0, e1, 3)
        SHA1_WORDS(w3, w0, w1, w2) SHA1_ROUNDS(w3, e1, e0, 3)
        e0 = _mm_sha1nexte_epu32(e0, e_before);
        abcd = _mm_shuffle_epi32(_mm_add_epi32(abcd, abcd_before), 0x1B);
        _mm_storeu_si128((__m128i *)state, abcd);
        state[4] = (unsigned int)_mm_extract_epi32(e0, 3);
    }

    static int sha1_block_fast(unsigned int *state, const unsigned char *block) {
        if (!sha1_is_fast()) return 0;
        sha1_block_of_processor(state, block);
        return 1;
    }
    #else
    static int sha1_block_fast(unsigned int *state, const unsigned char *block) { return 0; }
    #endif
    """
    bint sha1_block_fast(uint32_t* state, const byte* block) nogil


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


cdef inline void add_block(uint32_t* state, const byte* block, bint portable) noexcept nogil:
    if portable or not sha1_block_fast(state, block):
        sha1_block(state, block)


cdef inline void sha1(const byte* message, Py_ssize_t length, byte* digest, bint portable) noexcept nogil:
    """Write the 20 bytes of a digest. `portable`: without special instructions."""
    cdef uint32_t state[5]
    cdef byte block[64]
    cdef uint64_t bits = <uint64_t>length * 8
    cdef int index
    state[0], state[1], state[2], state[3], state[4] = 0x67452301, 0xEFCDAB89, 0x98BADCFE, 0x10325476, 0xC3D2E1F0
    while length >= 64:
        add_block(state, message, portable)
        message += 64
        length -= 64
    memset(block, 0, 64)
    memcpy(block, message, length)
    block[length] = 0x80
    if length >= 56:
        add_block(state, block, portable)
        memset(block, 0, 64)
    for index in range(8):
        block[63 - index] = <byte>(bits >> 8 * index)
    add_block(state, block, portable)
    for index in range(20):
        digest[index] = <byte>(state[index >> 2] >> (24 - 8 * (index & 3)))
