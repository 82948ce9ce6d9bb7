package main

import (
	"go/ast"
	"go/token"
	"go/types"
	"strings"
)

// starters are the functions that start a program or look one up, with the argument that names it.
var starters = map[string]int{
	"os/exec.Command":                         0,
	"os/exec.CommandContext":                  1,
	"os/exec.LookPath":                        0,
	"golang.org/x/sys/execabs.Command":        0,
	"golang.org/x/sys/execabs.CommandContext": 1,
	"golang.org/x/sys/execabs.LookPath":       0,
	"os.StartProcess":                         0,
	"syscall.Exec":                            0,
	"syscall.ForkExec":                        0,
	"syscall.StartProcess":                    0,
	"golang.org/x/sys/unix.Exec":              0,
}

// inC are the functions of C that start a program (exec(3), posix_spawn(3), system(3), popen(3)).
var inC = map[string]bool{
	"system": true, "popen": true, "execl": true, "execlp": true, "execle": true, "execv": true,
	"execvp": true, "execvpe": true, "execve": true, "fexecve": true, "posix_spawn": true, "posix_spawnp": true,
}

// searcher collects the sites of one package.
type searcher struct {
	*checked
	// through are the variables of all packages so far that a starter is stored in (var run = exec.Command).
	through map[*types.Var]string
	values  *values
	sites   []site
	scope   string
	// What the identifiers seen so far are used for.
	callee map[*ast.Ident]*ast.CallExpr
	stored map[*ast.Ident]ast.Expr
	taken  map[*ast.Ident]bool
}

// search reports the sites of one package.
func search(found *checked, through map[*types.Var]string) []site {
	s := &searcher{
		checked: found,
		through: through,
		values:  newValues(found),
		callee:  map[*ast.Ident]*ast.CallExpr{},
		stored:  map[*ast.Ident]ast.Expr{},
		taken:   map[*ast.Ident]bool{},
	}
	for _, file := range found.files {
		walk(found.info, file, s.hold)
	}
	for _, file := range found.files {
		for _, declaration := range file.Decls {
			s.scope = scopeOf(found.listed.path(), file.Name.Name, declaration)
			walk(found.info, declaration, s.visit)
		}
	}
	return s.sites
}

// hold notes the variables that a starter is stored in. That store is a site of its own, since others may
// follow; calls of the variable are sites too.
func (s *searcher) hold(node ast.Node) {
	switch node := node.(type) {
	case *ast.AssignStmt:
		for i := 0; i < len(node.Lhs) && len(node.Lhs) == len(node.Rhs); i++ {
			s.holds(lastName(node.Lhs[i]), node.Rhs[i])
		}
	case *ast.ValueSpec:
		for i := 0; i < len(node.Names) && len(node.Names) == len(node.Values); i++ {
			s.holds(node.Names[i], node.Values[i])
		}
	}
}

func (s *searcher) holds(name *ast.Ident, value ast.Expr) {
	from := lastName(value)
	if name == nil || from == nil {
		return
	}
	object := s.info.Defs[name]
	if object == nil {
		object = s.info.Uses[name]
	}
	function, ok := s.info.Uses[from].(*types.Func)
	if variable, isVariable := object.(*types.Var); ok && isVariable {
		if _, starts := starters[function.FullName()]; starts {
			s.through[variable] = function.FullName()
		}
	}
}

// scopeOf is the linker's symbol of a function; generic ones and initialisers have none of their own.
func scopeOf(path, name string, declaration ast.Decl) string {
	function, ok := declaration.(*ast.FuncDecl)
	if !ok || function.Name.Name == "init" || function.Type.TypeParams != nil {
		return ""
	}
	if name == "main" {
		path = "main"
	}
	if function.Recv == nil || len(function.Recv.List) != 1 {
		return path + "." + function.Name.Name
	}
	switch receiver := function.Recv.List[0].Type.(type) {
	case *ast.StarExpr:
		if base, ok := receiver.X.(*ast.Ident); ok {
			return path + ".(*" + base.Name + ")." + function.Name.Name
		}
	case *ast.Ident:
		return path + "." + receiver.Name + "." + function.Name.Name
	}
	return ""
}

func (s *searcher) visit(node ast.Node) {
	switch node := node.(type) {
	case *ast.CallExpr:
		if name := lastName(node.Fun); name != nil {
			s.callee[name] = node
		}
	case *ast.AssignStmt:
		s.assignment(node)
	case *ast.UnaryExpr:
		if name := lastName(node.X); node.Op == token.AND && name != nil {
			s.taken[name] = true
		}
	case *ast.RangeStmt:
		s.range_(node)
	case *ast.CompositeLit:
		s.literal(node)
	case *ast.SelectorExpr:
		s.cFunction(node)
	case *ast.Ident:
		s.identifier(node)
	}
}

// lastName is the identifier that an expression ends in: f for f, p.f and (p.f).
func lastName(expression ast.Expr) *ast.Ident {
	switch expression := expression.(type) {
	case *ast.Ident:
		return expression
	case *ast.SelectorExpr:
		return expression.Sel
	case *ast.ParenExpr:
		return lastName(expression.X)
	}
	return nil
}

func (s *searcher) assignment(node *ast.AssignStmt) {
	for i, left := range node.Lhs {
		name := lastName(left)
		if name == nil {
			continue
		}
		s.stored[name] = node.Rhs[0]
		if node.Tok == token.ASSIGN && len(node.Lhs) == len(node.Rhs) {
			s.stored[name] = node.Rhs[i]
		} else if node.Tok == token.ASSIGN {
			s.taken[name] = true
		}
	}
	if name := lastName(node.Lhs[0]); name != nil && node.Tok != token.ASSIGN && node.Tok != token.DEFINE {
		s.taken[name] = true
	}
}

// range_ notes what a loop stores: never a constant.
func (s *searcher) range_(node *ast.RangeStmt) {
	for _, target := range []ast.Expr{node.Key, node.Value} {
		if name := lastName(target); name != nil {
			s.taken[name] = true
		}
	}
}

// literal notes the Path of an exec.Cmd written out: by key, or in the first place.
func (s *searcher) literal(node *ast.CompositeLit) {
	for _, element := range node.Elts {
		if pair, ok := element.(*ast.KeyValueExpr); ok {
			if key, ok := pair.Key.(*ast.Ident); ok {
				s.stored[key] = pair.Value
			}
		}
	}
	if len(node.Elts) == 0 || !isCmd(s.info.Types[node].Type) {
		return
	}
	if _, keyed := node.Elts[0].(*ast.KeyValueExpr); !keyed {
		s.add(node.Pos(), "os/exec.Cmd", node.Elts[0])
	}
}

func isCmd(kind types.Type) bool {
	if pointer, ok := kind.(*types.Pointer); ok {
		kind = pointer.Elem()
	}
	named, ok := kind.(*types.Named)
	return ok && named.Obj().Pkg() != nil && named.Obj().Pkg().Path() == "os/exec" && named.Obj().Name() == "Cmd"
}

func (s *searcher) cFunction(node *ast.SelectorExpr) {
	if from, ok := node.X.(*ast.Ident); ok && from.Name == "C" && inC[strings.TrimPrefix(node.Sel.Name, "_Cfunc_")] {
		if _, ok := s.info.Uses[from].(*types.PkgName); ok {
			s.add(node.Pos(), "C."+node.Sel.Name, nil)
		}
	}
}

// identifier looks at one use of a name: a starter that is called, or goes elsewhere as a value; Cmd.Path
// that is set; the number of the execve system call.
func (s *searcher) identifier(name *ast.Ident) {
	switch object := s.info.Uses[name].(type) {
	case *types.Func:
		s.function(name, object.FullName())
	case *types.Var:
		if full, ok := s.through[object]; ok && s.callee[name] != nil {
			s.function(name, full)
		} else if object.IsField() && object.Name() == "Path" && object.Pkg() != nil && object.Pkg().Path() == "os/exec" {
			s.field(name)
		}
	case *types.Const:
		if strings.HasPrefix(object.Name(), "SYS_EXECVE") {
			s.add(name.Pos(), object.Pkg().Path()+"."+object.Name(), nil)
		}
	}
}

func (s *searcher) function(name *ast.Ident, full string) {
	index, ok := starters[full]
	if !ok {
		return
	}
	call := s.callee[name]
	if call == nil || len(call.Args) <= index {
		s.add(name.Pos(), full, nil)
		return
	}
	s.add(name.Pos(), full, call.Args[index])
}

func (s *searcher) field(name *ast.Ident) {
	value, stored := s.stored[name]
	switch {
	case s.taken[name]:
		s.add(name.Pos(), "os/exec.Cmd", nil)
	case stored:
		s.add(name.Pos(), "os/exec.Cmd", value)
	}
}

// add reports a site once for each program that it may name; a nil expression is never constant.
func (s *searcher) add(at token.Pos, function string, expression ast.Expr) {
	position := s.fset.Position(at)
	found := site{
		Package:  s.listed.path(),
		File:     s.listed.display(position.Filename),
		Line:     position.Line,
		Function: function,
		Scope:    s.scope,
	}
	if expression == nil {
		found.Expression = function
	} else {
		found.Expression = types.ExprString(expression)
	}
	programs, constant := s.values.of(expression)
	if !constant {
		s.sites = append(s.sites, found)
		return
	}
	found.Constant = true
	for _, program := range programs {
		if program == "" {
			continue // a zero value that is never started: os/exec refuses an empty name
		}
		found.Program = program
		s.sites = append(s.sites, found)
	}
}
