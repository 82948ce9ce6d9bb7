// Litmus shows which reorderings of memory accesses an architecture lets a program see, and that Go's atomics forbid
// the ones they must.
//
// Go has no relaxed atomics. The "plain" runs race on purpose: what they show is what the compiler and the CPU do
// with accesses that nobody ordered. The "atomic" runs use sync/atomic, whose operations are sequentially consistent
// (The Go Memory Model, 2022): a forbidden outcome there is a defect, and the exit status is 1.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
)

// cell keeps each variable on a cache line of its own.
type cell struct {
	v int32
	_ [124]byte
}

// instance is one round's variables and what its two threads read.
type instance struct {
	x, y   cell
	r1, r2 cell
}

// shape is one litmus test: two threads, and the outcome that sequential consistency forbids.
type shape struct {
	name          string
	first, second func(*instance, bool)
	forbidden     func(*instance) bool
}

//go:noinline
func load(p *int32, ordered bool) int32 {
	if ordered {
		return atomic.LoadInt32(p)
	}
	return *p
}

//go:noinline
func store(p *int32, v int32, ordered bool) {
	if ordered {
		atomic.StoreInt32(p, v)
		return
	}
	*p = v
}

var shapes = []shape{
	{ // Store buffering: each thread writes one variable and reads the other.
		"SB",
		func(i *instance, o bool) { store(&i.x.v, 1, o); i.r1.v = load(&i.y.v, o) },
		func(i *instance, o bool) { store(&i.y.v, 1, o); i.r2.v = load(&i.x.v, o) },
		func(i *instance) bool { return i.r1.v == 0 && i.r2.v == 0 },
	},
	{ // Message passing: the flag is seen and the data is not.
		"MP",
		func(i *instance, o bool) { store(&i.x.v, 1, o); store(&i.y.v, 1, o) },
		func(i *instance, o bool) { i.r1.v = load(&i.y.v, o); i.r2.v = load(&i.x.v, o) },
		func(i *instance) bool { return i.r1.v == 1 && i.r2.v == 0 },
	},
	{ // Load buffering: each thread reads what the other writes afterwards.
		"LB",
		func(i *instance, o bool) { i.r1.v = load(&i.x.v, o); store(&i.y.v, 1, o) },
		func(i *instance, o bool) { i.r2.v = load(&i.y.v, o); store(&i.x.v, 1, o) },
		func(i *instance) bool { return i.r1.v == 1 && i.r2.v == 1 },
	},
}

// result is one line of the report. Bad says that the outcome must not be, and was.
type result struct {
	Test       string `json:"test"`
	Order      string `json:"order"`
	Iterations int    `json:"iterations"`
	Forbidden  int    `json:"forbidden"`
	Bad        bool   `json:"bad"`
}

const batch = 1000

// run races the two threads over many instances at once, so that they meet in the middle of it.
func run(s shape, ordered bool, iterations int) result {
	forbidden := 0
	instances := make([]instance, batch)
	for done := 0; done < iterations; done += batch {
		clear(instances)
		var ready, finished sync.WaitGroup
		ready.Add(2)
		finished.Add(2)
		for _, thread := range []func(*instance, bool){s.first, s.second} {
			go func() {
				defer finished.Done()
				ready.Done()
				ready.Wait()
				for i := range instances {
					thread(&instances[i], ordered)
				}
			}()
		}
		finished.Wait()
		for i := range instances {
			if s.forbidden(&instances[i]) {
				forbidden++
			}
		}
	}
	return result{s.name, map[bool]string{true: "atomic", false: "plain"}[ordered], iterations, forbidden, ordered && forbidden > 0}
}

// count lets many goroutines add to one counter, by compare-and-swap or plainly; the difference to what they added is
// what was lost.
func count(ordered bool, iterations int) result {
	const workers = 4
	var counter int32
	var finished sync.WaitGroup
	for range workers {
		finished.Add(1)
		go func() {
			defer finished.Done()
			for range iterations / workers {
				add(&counter, ordered)
			}
		}()
	}
	finished.Wait()
	lost := iterations/workers*workers - int(counter)
	return result{"CAS", map[bool]string{true: "atomic", false: "plain"}[ordered], iterations, lost, ordered && lost != 0}
}

//go:noinline
func add(p *int32, ordered bool) {
	if !ordered {
		*p++
		return
	}
	for {
		if old := atomic.LoadInt32(p); atomic.CompareAndSwapInt32(p, old, old+1) {
			return
		}
	}
}

func main() {
	iterations := flag.Int("n", 200_000, "`rounds` of each test")
	flag.Parse()
	if *iterations < batch || flag.NArg() > 0 {
		fmt.Fprintf(os.Stderr, "litmus: got -n %d %v, expected at least %d rounds and no arguments\n", *iterations, flag.Args(), batch)
		os.Exit(2)
	}
	var results []result
	for _, ordered := range []bool{false, true} {
		for _, s := range shapes {
			results = append(results, run(s, ordered, *iterations/batch*batch))
		}
		results = append(results, count(ordered, *iterations))
	}
	status := 0
	for _, r := range results {
		if r.Bad {
			status = 1
		}
	}
	encoder := json.NewEncoder(os.Stdout)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(map[string]any{"goarch": runtime.GOARCH, "language": "Go", "cpus": runtime.NumCPU(), "results": results}); err != nil {
		fmt.Fprintln(os.Stderr, "litmus:", err)
		status = 1
	}
	os.Exit(status)
}
