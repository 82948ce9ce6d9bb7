package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
)

// listed is one package as go list describes it (go help list).
type listed struct {
	Dir        string
	ImportPath string
	Standard   bool
	GoFiles    []string
	CgoFiles   []string
	Imports    []string
	ImportMap  map[string]string
	Module     *struct {
		Path string
		Dir  string
		Main bool
	}
	Error *struct{ Err string }
}

// readList decodes a stream of packages: go list -json prints no array.
func readList(path string) ([]*listed, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	var packages []*listed
	decoder := json.NewDecoder(file)
	for {
		var next listed
		if err := decoder.Decode(&next); errors.Is(err, io.EOF) {
			return packages, nil
		} else if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		packages = append(packages, &next)
	}
}

// searched tells whether calls in the package's functions are looked for. Of the standard library, only
// packages that use os/exec start programs of their own accord; the rest is how they are started.
func (l *listed) searched() bool {
	if !l.Standard {
		return true
	}
	for _, path := range l.Imports {
		if path == "os/exec" {
			return true
		}
	}
	return false
}

// path is the import path without the mark of a variant, such as one built for a profile: "fmt [example.org/a]".
func (l *listed) path() string {
	path, _, _ := strings.Cut(l.ImportPath, " ")
	return path
}

func (l *listed) files() []string {
	return append(append([]string{}, l.GoFiles...), l.CgoFiles...)
}

// display is a file's name in reports: relative to the main module, or after the path of its own one.
func (l *listed) display(path string) string {
	if l.Module != nil && l.Module.Dir != "" {
		if relative, err := filepath.Rel(l.Module.Dir, path); err == nil {
			if l.Module.Main {
				return filepath.ToSlash(relative)
			}
			return l.Module.Path + "/" + filepath.ToSlash(relative)
		}
	}
	return l.path() + "/" + filepath.Base(path)
}

// checked is one package after type checking; info is nil where its functions are not searched.
type checked struct {
	listed   *listed
	fset     *token.FileSet
	files    []*ast.File
	info     *types.Info
	types    *types.Package
	problems []string
}

// loader type-checks packages in the order in which go list gives them: dependencies first.
type loader struct {
	fset   *token.FileSet
	sizes  types.Sizes
	parsed map[*listed][]parsedFile
	known  map[string]*types.Package
}

type parsedFile struct {
	file *ast.File
	err  error
}

func newLoader(packages []*listed, goarch string) *loader {
	l := &loader{
		fset:   token.NewFileSet(),
		sizes:  types.SizesFor("gc", goarch),
		parsed: map[*listed][]parsedFile{},
		known:  map[string]*types.Package{"unsafe": types.Unsafe},
	}
	var group sync.WaitGroup
	slots := make(chan struct{}, runtime.GOMAXPROCS(0))
	for _, each := range packages {
		names := each.files()
		files := make([]parsedFile, len(names))
		l.parsed[each] = files
		for i, name := range names {
			group.Add(1)
			slots <- struct{}{}
			go func(into *parsedFile, path string) {
				defer group.Done()
				into.file, into.err = parser.ParseFile(l.fset, path, nil, parser.SkipObjectResolution)
				<-slots
			}(&files[i], filepath.Join(each.Dir, name))
		}
	}
	group.Wait()
	return l
}

// check type-checks one package. Errors in packages that are searched are problems, since a call behind
// one may go unseen; the standard library's are not, since only its declarations are used.
func (l *loader) check(each *listed) *checked {
	result := &checked{listed: each, fset: l.fset}
	if each.Error != nil {
		result.problems = append(result.problems, each.Error.Err)
	}
	if each.ImportPath == "unsafe" {
		return result
	}
	for _, one := range l.parsed[each] {
		if one.err != nil {
			result.problems = append(result.problems, one.err.Error())
		}
		if one.file != nil {
			result.files = append(result.files, one.file)
		}
	}
	l.typeCheck(each, result)
	return result
}

func (l *loader) typeCheck(each *listed, result *checked) {
	if each.searched() {
		result.info = &types.Info{
			Types: map[ast.Expr]types.TypeAndValue{},
			Defs:  map[*ast.Ident]types.Object{},
			Uses:  map[*ast.Ident]types.Object{},
		}
	}
	failures := 0
	config := types.Config{
		IgnoreFuncBodies: result.info == nil,
		FakeImportC:      true,
		Sizes:            l.sizes,
		Importer:         importer{loader: l, names: each.ImportMap},
		Error: func(err error) {
			// The types of C are not known here, and sound code that uses them may look wrong.
			if failures++; failures == 1 && !each.Standard && len(each.CgoFiles) == 0 {
				result.problems = append(result.problems, err.Error())
			}
		},
	}
	result.types, _ = config.Check(each.path(), l.fset, result.files, result.info)
	if result.types != nil {
		l.known[each.ImportPath] = result.types
	}
}

// importer answers a package's imports with what was checked before it.
type importer struct {
	loader *loader
	names  map[string]string
}

func (i importer) Import(path string) (*types.Package, error) {
	if real, ok := i.names[path]; ok {
		path = real
	}
	if known := i.loader.known[path]; known != nil {
		return known, nil
	}
	return nil, fmt.Errorf("package %s is not there", path)
}
