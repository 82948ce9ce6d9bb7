/* Prints the name of every link map, a line each, and ends. It needs no libc: glibc's and musl's loaders both
   fill in DT_DEBUG, and their link maps begin alike. */

typedef struct { long tag; unsigned long value; } dyn;
struct map { unsigned long base; char *name; dyn *dynamic; struct map *next, *previous; };
struct debug { int version; struct map *maps; };
extern dyn _DYNAMIC[] __attribute__((visibility("hidden")));

static long call(long number, long one, long two, long three)
{
#if defined(__x86_64__)
    long result;
    __asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(one), "S"(two), "d"(three) : "rcx", "r11", "memory");
    return result;
#else
    register long x8 __asm__("x8") = number;
    register long x0 __asm__("x0") = one;
    register long x1 __asm__("x1") = two;
    register long x2 __asm__("x2") = three;
    __asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2) : "memory");
    return x0;
#endif
}

#if defined(__x86_64__)
enum { WRITE = 1, EXIT = 231 };
#else
enum { WRITE = 64, EXIT = 94 };
#endif

void _start(void)
{
    for (dyn *row = _DYNAMIC; row->tag; row++)
        if (row->tag == 21 && row->value)
            for (struct map *map = ((struct debug *)row->value)->maps; map; map = map->next) {
                long size = 0;
                while (map->name && map->name[size])
                    size++;
                call(WRITE, 1, (long)map->name, size);
                call(WRITE, 1, (long)"\n", 1);
            }
    call(EXIT, 0, 0, 0);
    for (;;)
        ;
}
