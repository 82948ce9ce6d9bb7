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

const batch = 10_000

// race runs two functions side by side: both wait for each other, on threads of their own, before they begin.
func race(first, second func()) {
	var ready atomic.Int32
	var finished sync.WaitGroup
	finished.Add(2)
	for _, thread := range []func(){first, second} {
		go func() {
			defer finished.Done()
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			ready.Add(1)
			for spins := 0; ready.Load() < 2; spins++ {
				if spins > 1<<22 { // with one CPU the other cannot come while we spin
					runtime.Gosched()
				}
			}
			thread()
		}()
	}
	finished.Wait()
}

var orders = map[bool]string{true: "atomic", false: "plain"}

// run races the two threads over many instances at once, so that they meet in the middle of it.
func run(s shape, ordered bool, iterations int) result {
	forbidden := 0
	instances := make([]instance, batch)
	through := func(thread func(*instance, bool)) func() {
		return func() {
			for i := range instances {
				thread(&instances[i], ordered)
			}
		}
	}
	for done := 0; done < iterations; done += batch {
		clear(instances)
		race(through(s.first), through(s.second))
		for i := range instances {
			if s.forbidden(&instances[i]) {
				forbidden++
			}
		}
	}
	return result{s.name, orders[ordered], iterations, forbidden, ordered && forbidden > 0}
}

// count lets two threads add to one counter, by compare-and-swap or plainly; the outcomes are the additions lost.
func count(ordered bool, iterations int) result {
	lost := 0
	for done := 0; done < iterations; done += batch {
		var counter int32
		half := func() {
			for range batch / 2 {
				add(&counter, ordered)
			}
		}
		race(half, half)
		lost += batch - int(counter)
	}
	return result{"CAS", orders[ordered], iterations, lost, ordered && lost != 0}
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
		results = append(results, count(ordered, *iterations/batch*batch))
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
