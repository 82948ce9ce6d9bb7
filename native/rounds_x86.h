/*
 * rounds_x86.h: one round of SHA-256, SHA-512 and SHA-1 on general registers, in assembly, because its speed is
 * one of order. With the three-operand rotates of BMI2; where BM_ROUNDS_WITHOUT_BMI2 is defined before, with a copy
 * and a rotate in place. No state of its own.
 *
 * A round is bound by the chain from e to the next e. Here that is four operations: d takes everything that
 * is known early, then Ch and, last, Sigma1, beside the same sums for h; d + (h + ...) would be five. In the
 * same way h takes b & c early, and a & (b ^ c) in place of Maj's last exclusive or (the two have no bit in
 * common, so they may be added). Two more additions a round, and yet a tenth faster: measured, as the order
 * of the instructions was, on Golden Cove, where compilers need 6.7 cycles and this needs 6.0.
 */
#ifndef BM_ROUNDS_X86_H
#define BM_ROUNDS_X86_H

#ifdef BM_ROUNDS_WITHOUT_BMI2
#define BM_ROTATED(s, bits, from, to) "mov" s " " from ", " to "\n\tror" s " $" bits ", " to "\n\t"
#define BM_ROTATE(bits, it) "rorl $" bits ", " it "\n\t"
#else
#define BM_ROTATED(s, bits, from, to) "rorx $" bits ", " from ", " to "\n\t"
#define BM_ROTATE(bits, it) "rorx $" bits ", " it ", " it "\n\t"
#endif

/* `input` is the address of a schedule word with its constant. */
#define BM_ROUND_E(type, s, r0, r1, r2, d, e, f, g, h, input)                                      \
    do {                                                                                           \
        type t1_, t2_, t3_;                                                                        \
        __asm__("add" s " %[wk], %[H]\n\t"                                                         \
                BM_ROTATED(s, r1, "%[E]", "%[t1]")                                                 \
                "mov" s " %[F], %[t3]\n\t"                                                         \
                "xor" s " %[G], %[t3]\n\t"                                                         \
                BM_ROTATED(s, r0, "%[E]", "%[t2]")                                                 \
                "and" s " %[E], %[t3]\n\t"                                                         \
                "xor" s " %[t1], %[t2]\n\t"                                                        \
                "xor" s " %[G], %[t3]\n\t"                                                         \
                BM_ROTATED(s, r2, "%[E]", "%[t1]")                                                 \
                "xor" s " %[t1], %[t2]\n\t"                                                        \
                "add" s " %[H], %[D]\n\t"                                                          \
                "add" s " %[t3], %[D]\n\t"                                                         \
                "add" s " %[t2], %[D]\n\t"                                                         \
                "add" s " %[t3], %[H]\n\t"                                                         \
                "add" s " %[t2], %[H]\n\t"                                                         \
                : [H] "+&r"(h), [D] "+&r"(d), [t1] "=&r"(t1_), [t2] "=&r"(t2_), [t3] "=&r"(t3_)    \
                : [E] "r"(e), [F] "r"(f), [G] "r"(g), [wk] "m"(*(input))                           \
                : "cc");                                                                           \
    } while (0)

/* `bc` is b ^ c on entry and used up; `ab` becomes a ^ b, for the next round. */
#define BM_ROUND_A(type, s, r0, r1, r2, a, b, c, h, ab, bc)                                        \
    do {                                                                                           \
        type t1_, t2_, t3_;                                                                        \
        __asm__("mov" s " %[A], %[X]\n\t"                                                          \
                BM_ROTATED(s, r0, "%[A]", "%[t1]")                                                 \
                "mov" s " %[B], %[t3]\n\t"                                                         \
                "xor" s " %[B], %[X]\n\t"                                                          \
                "and" s " %[A], %[Y]\n\t"                                                          \
                BM_ROTATED(s, r1, "%[A]", "%[t2]")                                                 \
                "and" s " %[C], %[t3]\n\t"                                                         \
                "xor" s " %[t1], %[t2]\n\t"                                                        \
                BM_ROTATED(s, r2, "%[A]", "%[t1]")                                                 \
                "add" s " %[t3], %[H]\n\t"                                                         \
                "xor" s " %[t1], %[t2]\n\t"                                                        \
                "add" s " %[Y], %[H]\n\t"                                                          \
                "add" s " %[t2], %[H]\n\t"                                                         \
                : [H] "+&r"(h), [t1] "=&r"(t1_), [t2] "=&r"(t2_), [t3] "=&r"(t3_), [X] "=&r"(ab),  \
                  [Y] "+&r"(bc)                                                                    \
                : [A] "r"(a), [B] "r"(b), [C] "r"(c)                                               \
                : "cc");                                                                           \
    } while (0)

#define BM_ROUND_256(a, b, c, d, e, f, g, h, ab, bc, input)                                        \
    BM_ROUND_E(uint32_t, "l", "6", "11", "25", d, e, f, g, h, input);                              \
    BM_ROUND_A(uint32_t, "l", "2", "13", "22", a, b, c, h, ab, bc)

/*
 * SHA-512 without BMI2 extends two words where SHA-256 extends four and has more to do beside the rounds, so the
 * number of operations counts for more than the chain: one sum for h and d, Maj as b ^ (a ^ b & b ^ c), and Sigma
 * partly as rotations of rotations. Measured on Golden Cove, where the same made
 * SHA-256 slower.
 */
#ifdef BM_ROUNDS_WITHOUT_BMI2
#define BM_ROUND_512_E(d, e, f, g, h, input)                                                       \
    do {                                                                                           \
        uint64_t t1_, t2_, t3_;                                                                    \
        __asm__("movq %[E], %[t2]\n\t"                                                             \
                "movq %[F], %[t3]\n\t"                                                             \
                "rorq $4, %[t2]\n\t"                                                               \
                "xorq %[G], %[t3]\n\t"                                                             \
                "movq %[E], %[t1]\n\t"                                                             \
                "xorq %[E], %[t2]\n\t"                                                             \
                "andq %[E], %[t3]\n\t"                                                             \
                "rorq $41, %[t1]\n\t"                                                              \
                "addq %[wk], %[H]\n\t"                                                             \
                "rorq $14, %[t2]\n\t"                                                              \
                "xorq %[G], %[t3]\n\t"                                                             \
                "addq %[t3], %[H]\n\t"                                                             \
                "xorq %[t1], %[t2]\n\t"                                                            \
                "addq %[t2], %[H]\n\t"                                                             \
                "addq %[H], %[D]"                                                                  \
                : [H] "+&r"(h), [D] "+&r"(d), [t1] "=&r"(t1_), [t2] "=&r"(t2_), [t3] "=&r"(t3_)    \
                : [E] "r"(e), [F] "r"(f), [G] "r"(g), [wk] "m"(*(input))                           \
                : "cc");                                                                           \
    } while (0)

#define BM_ROUND_512_A(a, b, h, ab, bc)                                                            \
    do {                                                                                           \
        uint64_t t2_;                                                                              \
        __asm__("movq %[A], %[X]\n\t"                                                              \
                "movq %[A], %[t2]\n\t"                                                             \
                "xorq %[B], %[X]\n\t"                                                              \
                "rorq $5, %[t2]\n\t"                                                               \
                "andq %[X], %[Y]\n\t"                                                              \
                "xorq %[A], %[t2]\n\t"                                                             \
                "xorq %[B], %[Y]\n\t"                                                              \
                "rorq $6, %[t2]\n\t"                                                               \
                "addq %[Y], %[H]\n\t"                                                              \
                "xorq %[A], %[t2]\n\t"                                                             \
                "rorq $28, %[t2]\n\t"                                                              \
                "addq %[t2], %[H]"                                                                 \
                : [H] "+&r"(h), [t2] "=&r"(t2_), [X] "=&r"(ab), [Y] "+&r"(bc)                      \
                : [A] "r"(a), [B] "r"(b)                                                           \
                : "cc");                                                                           \
    } while (0)

#define BM_ROUND_512(a, b, c, d, e, f, g, h, ab, bc, input)                                        \
    BM_ROUND_512_E(d, e, f, g, h, input);                                                          \
    BM_ROUND_512_A(a, b, h, ab, bc)
#else
#define BM_ROUND_512(a, b, c, d, e, f, g, h, ab, bc, input)                                        \
    BM_ROUND_E(uint64_t, "q", "14", "18", "41", d, e, f, g, h, input);                             \
    BM_ROUND_A(uint64_t, "q", "28", "34", "39", a, b, c, h, ab, bc)
#endif

/* Eight rounds on the variables a to h, ab and bc; input(i) is the address of the i-th input. */
#define BM_EIGHT_ROUNDS(ROUND, input, i)                                                           \
    ROUND(a, b, c, d, e, f, g, h, ab, bc, input((i) + 0));                                         \
    ROUND(h, a, b, c, d, e, f, g, bc, ab, input((i) + 1));                                         \
    ROUND(g, h, a, b, c, d, e, f, ab, bc, input((i) + 2));                                         \
    ROUND(f, g, h, a, b, c, d, e, bc, ab, input((i) + 3));                                         \
    ROUND(e, f, g, h, a, b, c, d, ab, bc, input((i) + 4));                                         \
    ROUND(d, e, f, g, h, a, b, c, bc, ab, input((i) + 5));                                         \
    ROUND(c, d, e, f, g, h, a, b, ab, bc, input((i) + 6));                                         \
    ROUND(b, c, d, e, f, g, h, a, bc, ab, input((i) + 7))

/*
 * SHA-1: `e` takes its input first, then the function of b, c and d, and last the rotation of a, the youngest.
 * The two parts of Maj have no bit in common, so they may be added.
 */
#define BM_ROUND_1(code, a, b, c, d, e, input)                                                     \
    do {                                                                                           \
        uint32_t t1_, t2_, t3_;                                                                    \
        __asm__ volatile(code                                                                      \
                : [E] "+&r"(e), [B] "+&r"(b), [t1] "=&r"(t1_), [t2] "=&r"(t2_), [t3] "=&r"(t3_)    \
                : [A] "r"(a), [C] "r"(c), [D] "r"(d), [wk] "m"(*(input))                           \
                : "cc");                                                                           \
    } while (0)

#define BM_SHA1_CHOOSE                                                                             \
    "addl %[wk], %[E]\n\t" BM_ROTATED("l", "27", "%[A]", "%[t3]")                                  \
    "movl %[C], %[t1]\n\txorl %[D], %[t1]\n\tandl %[B], %[t1]\n\t" BM_ROTATE("2", "%[B]")         \
    "xorl %[D], %[t1]\n\taddl %[t1], %[E]\n\taddl %[t3], %[E]"

#define BM_SHA1_PARITY                                                                             \
    "movl %[C], %[t1]\n\taddl %[wk], %[E]\n\t" BM_ROTATED("l", "27", "%[A]", "%[t3]")             \
    "xorl %[D], %[t1]\n\txorl %[B], %[t1]\n\t" BM_ROTATE("2", "%[B]")                             \
    "addl %[t1], %[E]\n\taddl %[t3], %[E]"

#define BM_SHA1_MAJORITY                                                                           \
    BM_ROTATED("l", "27", "%[A]", "%[t3]") "movl %[C], %[t1]\n\tmovl %[C], %[t2]\n\t"             \
    "addl %[wk], %[E]\n\txorl %[D], %[t2]\n\tandl %[B], %[t2]\n\tandl %[D], %[t1]\n\t"           \
    "addl %[t1], %[E]\n\t" BM_ROTATE("2", "%[B]") "addl %[t2], %[E]\n\taddl %[t3], %[E]"

/* Twenty rounds on the variables a to e. */
#define BM_FIVE_ROUNDS_1(code, input, i)                                                           \
    BM_ROUND_1(code, a, b, c, d, e, input((i) + 0));                                               \
    BM_ROUND_1(code, e, a, b, c, d, input((i) + 1));                                               \
    BM_ROUND_1(code, d, e, a, b, c, input((i) + 2));                                               \
    BM_ROUND_1(code, c, d, e, a, b, input((i) + 3));                                               \
    BM_ROUND_1(code, b, c, d, e, a, input((i) + 4))

#define BM_TWENTY_ROUNDS_1(code, input, i)                                                         \
    BM_FIVE_ROUNDS_1(code, input, i);                                                              \
    BM_FIVE_ROUNDS_1(code, input, (i) + 5);                                                        \
    BM_FIVE_ROUNDS_1(code, input, (i) + 10);                                                       \
    BM_FIVE_ROUNDS_1(code, input, (i) + 15)

#endif
