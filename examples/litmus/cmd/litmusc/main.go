// Litmusc is litmus with C11 atomics: relaxed ones, whose reorderings it shows, and acquire, release and sequentially
// consistent ones, which must forbid them. It needs cgo: without it, it does not build.
package main

/*
#cgo LDFLAGS: -pthread
#include "litmus.h"
*/
import "C"

import (
	"flag"
	"fmt"
	"os"
	"runtime"
)

func main() {
	iterations := flag.Int("n", 200_000, "`rounds` of each test")
	flag.Parse()
	if *iterations < int(C.LITMUS_BATCH) || *iterations > 1<<30 || flag.NArg() > 0 {
		fmt.Fprintf(os.Stderr, "litmusc: got -n %d %v, expected at least %d rounds and no arguments\n", *iterations, flag.Args(), int(C.LITMUS_BATCH))
		os.Exit(2)
	}
	fmt.Printf("{\n  \"cpus\": %d,\n  \"goarch\": %q,\n  \"language\": \"C\",\n  \"results\": [\n", runtime.NumCPU(), runtime.GOARCH)
	status := 0
	for test := range int(C.LITMUS_TESTS) {
		r := C.litmus_run(C.int(test), C.int(*iterations))
		if r.error != 0 {
			fmt.Fprintln(os.Stderr, "litmusc: a thread cannot be started")
			os.Exit(1)
		}
		bad := r.must_not != 0 && r.forbidden != 0
		if bad {
			status = 1
		}
		comma := ","
		if test == int(C.LITMUS_TESTS)-1 {
			comma = ""
		}
		fmt.Printf("    {\"bad\": %t, \"forbidden\": %d, \"iterations\": %d, \"order\": %q, \"test\": %q}%s\n",
			bad, int(r.forbidden), int(r.iterations), C.GoString(r.order), C.GoString(r.test), comma)
	}
	fmt.Println("  ]\n}")
	os.Exit(status)
}
