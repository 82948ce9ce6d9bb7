// Command finder tells which programs a Go program starts, from its sources.
//
//	finder -list packages.json -goarch arm64
//
// packages.json is what `go list -e -deps -json` prints for the main package, so that build constraints,
// tags, vendoring and replaced modules are exactly those of the build. Every package is type-checked from
// source, dependencies first; what cannot be checked is told, and stops nothing. The report on standard
// output is one JSON document: each place that starts a program, with the program's name where it is
// constant, and the expression where it is not.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"go/types"
	"os"
	"runtime/debug"
	"sort"
)

const schema = 1

// Up to this many bytes nothing is collected: most programs need far less, and end before it would pay.
const uncollected = 1 << 30

// site is one place that starts a program, or looks one up in order to.
type site struct {
	Package    string `json:"package"`
	File       string `json:"file"`
	Line       int    `json:"line"`
	Function   string `json:"function"`
	Program    string `json:"program"`
	Constant   bool   `json:"constant"`
	Expression string `json:"expression"`
	// Scope is the linker's symbol of the enclosing function, or empty where it has no single one.
	Scope string `json:"scope"`
}

// problem is a package that was not understood in full: sites may be missing.
type problem struct {
	Package string `json:"package"`
	Text    string `json:"text"`
}

type report struct {
	Schema   int       `json:"schema"`
	Sites    []site    `json:"sites"`
	Problems []problem `json:"problems"`
}

func main() {
	list := flag.String("list", "", "the output of go list -e -deps -json")
	goarch := flag.String("goarch", "amd64", "GOARCH, for the sizes of types")
	flag.Parse()
	debug.SetGCPercent(-1)
	debug.SetMemoryLimit(uncollected)
	packages, err := readList(*list)
	if err == nil {
		err = json.NewEncoder(os.Stdout).Encode(find(packages, *goarch))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "finder:", err)
		os.Exit(1)
	}
}

// find reports the sites of all packages, in the order of package, file and line.
func find(packages []*listed, goarch string) report {
	loaded := newLoader(packages, goarch)
	through := map[*types.Var]string{}
	result := report{Schema: schema, Sites: []site{}, Problems: []problem{}}
	for _, listed := range packages {
		checked := loaded.check(listed)
		for _, text := range checked.problems {
			result.Problems = append(result.Problems, problem{Package: listed.path(), Text: text})
		}
		if listed.searched() {
			result.Sites = append(result.Sites, search(checked, through)...)
		}
	}
	sort.SliceStable(result.Sites, func(i, j int) bool {
		a, b := result.Sites[i], result.Sites[j]
		if a.File != b.File {
			return a.File < b.File
		}
		return a.Line < b.Line
	})
	return result
}
