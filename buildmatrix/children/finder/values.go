package main

import (
	"go/ast"
	"go/constant"
	"go/token"
	"go/types"
)

const mostPrograms = 16

// variable is what is known of a local variable: everything that is ever stored in it, or that this cannot
// be told.
type variable struct {
	declared bool
	opaque   bool
	stored   []ast.Expr
}

// values resolves expressions to the strings that they can stand for. Constants come from the type checker;
// local variables are followed where every store is visible. Package-level variables are not: the linker
// can set them (-X), and so can other packages.
type values struct {
	*checked
	local map[*types.Var]*variable
}

func newValues(found *checked) *values {
	v := &values{checked: found, local: map[*types.Var]*variable{}}
	for _, file := range found.files {
		for _, declaration := range file.Decls {
			walk(found.info, declaration, v.visit)
		}
	}
	return v
}

func (v *values) variable(name *ast.Ident) *variable {
	object := v.info.Defs[name]
	if object == nil {
		object = v.info.Uses[name]
	}
	found, ok := object.(*types.Var)
	if !ok || found.IsField() || found.Parent() == nil || found.Parent() == v.types.Scope() {
		return nil
	}
	if v.local[found] == nil {
		v.local[found] = &variable{}
	}
	if v.info.Defs[name] != nil {
		v.local[found].declared = true
	}
	return v.local[found]
}

func (v *values) visit(node ast.Node) {
	switch node := node.(type) {
	case *ast.AssignStmt:
		v.assign(node.Lhs, node.Rhs, node.Tok == token.ASSIGN || node.Tok == token.DEFINE)
	case *ast.ValueSpec:
		names := make([]ast.Expr, len(node.Names))
		for i, name := range node.Names {
			names[i] = name
		}
		v.assign(names, node.Values, true)
	case *ast.RangeStmt:
		v.spoil(node.Key)
		v.spoil(node.Value)
	case *ast.UnaryExpr:
		if node.Op == token.AND {
			v.spoil(node.X)
		}
	}
}

func (v *values) spoil(expression ast.Expr) {
	if paren, ok := expression.(*ast.ParenExpr); ok {
		expression = paren.X
	}
	if name, ok := expression.(*ast.Ident); ok {
		if found := v.variable(name); found != nil {
			found.opaque = true
		}
	}
}

// assign notes a store. `plain` is false for += and the like. A declaration without a value leaves the
// empty string, which starts nothing.
func (v *values) assign(left, right []ast.Expr, plain bool) {
	for i, target := range left {
		name, ok := target.(*ast.Ident)
		if !ok {
			v.spoil(target)
			continue
		}
		found := v.variable(name)
		switch {
		case found == nil || len(right) == 0:
		case !plain:
			found.opaque = true
		case len(left) == len(right):
			found.stored = append(found.stored, right[i])
		case i == 0 && v.lookup(right[0]) != nil:
			found.stored = append(found.stored, right[0])
		default:
			found.opaque = true
		}
	}
}

// lookup is the argument of a call of exec.LookPath, or nil: its result starts the program that it names.
func (v *values) lookup(expression ast.Expr) ast.Expr {
	call, ok := expression.(*ast.CallExpr)
	if !ok || len(call.Args) != 1 {
		return nil
	}
	name := lastName(call.Fun)
	if name == nil {
		return nil
	}
	function, ok := v.info.Uses[name].(*types.Func)
	if ok && (function.FullName() == "os/exec.LookPath" || function.FullName() == "golang.org/x/sys/execabs.LookPath") {
		return call.Args[0]
	}
	return nil
}

// of is every string that an expression can be, and whether that is all of them.
func (v *values) of(expression ast.Expr) ([]string, bool) {
	return v.resolve(expression, map[*variable]bool{})
}

func (v *values) resolve(expression ast.Expr, within map[*variable]bool) ([]string, bool) {
	if expression == nil {
		return nil, false
	}
	if known := v.info.Types[expression].Value; known != nil && known.Kind() == constant.String {
		return []string{constant.StringVal(known)}, true
	}
	switch expression := expression.(type) {
	case *ast.ParenExpr:
		return v.resolve(expression.X, within)
	case *ast.BinaryExpr:
		return v.joined(expression, within)
	case *ast.CallExpr:
		if argument := v.lookup(expression); argument != nil {
			return v.resolve(argument, within)
		}
		if len(expression.Args) == 1 && v.isStringConversion(expression) {
			return v.resolve(expression.Args[0], within)
		}
	case *ast.Ident:
		return v.stores(v.variable(expression), within)
	}
	return nil, false
}

// isStringConversion tells string(x) of a string type from every other call and conversion.
func (v *values) isStringConversion(call *ast.CallExpr) bool {
	if !v.info.Types[call.Fun].IsType() {
		return false
	}
	for _, expression := range []ast.Expr{call, call.Args[0]} {
		kind := v.info.Types[expression].Type
		if kind == nil {
			return false
		}
		if basic, ok := kind.Underlying().(*types.Basic); !ok || basic.Info()&types.IsString == 0 {
			return false
		}
	}
	return true
}

func (v *values) stores(found *variable, within map[*variable]bool) ([]string, bool) {
	if found == nil || !found.declared || found.opaque || within[found] {
		return nil, false
	}
	within[found] = true
	defer delete(within, found)
	var all []string
	for _, expression := range found.stored {
		some, ok := v.resolve(expression, within)
		if !ok || len(all)+len(some) > mostPrograms {
			return nil, false
		}
		all = merge(all, some)
	}
	return all, len(all) > 0
}

func (v *values) joined(expression *ast.BinaryExpr, within map[*variable]bool) ([]string, bool) {
	if expression.Op != token.ADD {
		return nil, false
	}
	left, ok := v.resolve(expression.X, within)
	if !ok {
		return nil, false
	}
	right, ok := v.resolve(expression.Y, within)
	if !ok || len(left)*len(right) > mostPrograms {
		return nil, false
	}
	var all []string
	for _, a := range left {
		for _, b := range right {
			all = merge(all, []string{a + b})
		}
	}
	return all, true
}

func merge(all, more []string) []string {
	for _, text := range more {
		known := false
		for _, old := range all {
			known = known || old == text
		}
		if !known {
			all = append(all, text)
		}
	}
	return all
}
