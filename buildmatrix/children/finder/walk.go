package main

import (
	"go/ast"
	"go/constant"
	"go/token"
	"go/types"
)

// walk visits every node that this target's code can reach: branches behind a condition that is constant
// here, such as runtime.GOOS == "windows", are left out, as the compiler leaves them out.
func walk(info *types.Info, root ast.Node, visit func(ast.Node)) {
	ast.Inspect(root, func(node ast.Node) bool {
		switch node := node.(type) {
		case nil:
			return false
		case *ast.IfStmt:
			return conditional(info, node, visit)
		case *ast.SwitchStmt:
			return switched(info, node, visit)
		case *ast.BlockStmt:
			visit(node)
			statements(info, node.List, visit)
			return false
		case *ast.CaseClause:
			visit(node)
			for _, expression := range node.List {
				walk(info, expression, visit)
			}
			statements(info, node.Body, visit)
			return false
		}
		visit(node)
		return true
	})
}

// conditional handles an if whose condition is constant; it returns true for any other.
func conditional(info *types.Info, node *ast.IfStmt, visit func(ast.Node)) bool {
	value, known := condition(info, node.Cond)
	if !known {
		visit(node)
		return true
	}
	visit(node)
	if node.Init != nil {
		walk(info, node.Init, visit)
	}
	walk(info, node.Cond, visit)
	if branch := taken(node, value); branch != nil {
		walk(info, branch, visit)
	}
	return false
}

func taken(node *ast.IfStmt, value bool) ast.Stmt {
	if value {
		return node.Body
	}
	return node.Else
}

// condition is the value of a boolean expression where the target decides it.
func condition(info *types.Info, expression ast.Expr) (value, known bool) {
	if found := info.Types[expression].Value; found != nil && found.Kind() == constant.Bool {
		return constant.BoolVal(found), true
	}
	switch expression := expression.(type) {
	case *ast.ParenExpr:
		return condition(info, expression.X)
	case *ast.UnaryExpr:
		value, known = condition(info, expression.X)
		return !value, known && expression.Op == token.NOT
	case *ast.BinaryExpr:
		return junction(info, expression)
	}
	return false, false
}

// junction knows a && b where either is false, and a || b where either is true.
func junction(info *types.Info, node *ast.BinaryExpr) (value, known bool) {
	if node.Op != token.LAND && node.Op != token.LOR {
		return false, false
	}
	deciding := node.Op == token.LOR
	left, leftKnown := condition(info, node.X)
	right, rightKnown := condition(info, node.Y)
	if (leftKnown && left == deciding) || (rightKnown && right == deciding) {
		return deciding, true
	}
	return !deciding, leftKnown && rightKnown
}

// statements leaves out what follows a constant condition whose branch does not come back.
func statements(info *types.Info, list []ast.Stmt, visit func(ast.Node)) {
	for i, statement := range list {
		walk(info, statement, visit)
		node, ok := statement.(*ast.IfStmt)
		if !ok {
			continue
		}
		value, known := condition(info, node.Cond)
		block, ok := taken(node, value).(*ast.BlockStmt)
		if known && ok && block != nil && leaves(block) && !labelled(list[i+1:]) {
			return
		}
	}
}

func leaves(block *ast.BlockStmt) bool {
	if len(block.List) == 0 {
		return false
	}
	switch last := block.List[len(block.List)-1].(type) {
	case *ast.ReturnStmt, *ast.BranchStmt:
		return true
	case *ast.ExprStmt:
		call, ok := last.X.(*ast.CallExpr)
		if !ok {
			return false
		}
		name, ok := call.Fun.(*ast.Ident)
		return ok && name.Name == "panic"
	}
	return false
}

// labelled tells whether a goto may lead into the statements.
func labelled(list []ast.Stmt) bool {
	found := false
	for _, statement := range list {
		ast.Inspect(statement, func(node ast.Node) bool {
			_, label := node.(*ast.LabeledStmt)
			found = found || label
			return !found
		})
	}
	return found
}

// switched handles a switch over a constant, such as runtime.GOOS; it returns true for any other.
func switched(info *types.Info, node *ast.SwitchStmt, visit func(ast.Node)) bool {
	visit(node)
	if fallsThrough(node) {
		return true
	}
	if node.Init != nil {
		walk(info, node.Init, visit)
	}
	if node.Tag != nil {
		walk(info, node.Tag, visit)
	}
	decided := false
	var fallback *ast.CaseClause
	for _, statement := range node.Body.List {
		clause, ok := statement.(*ast.CaseClause)
		if !ok {
			continue
		}
		if clause.List == nil {
			fallback = clause
			continue
		}
		matches, known := clauseMatches(info, node.Tag, clause)
		if decided || (known && !matches) {
			continue
		}
		decided = known && matches
		walk(info, clause, visit)
	}
	if fallback != nil && !decided {
		walk(info, fallback, visit)
	}
	return false
}

func fallsThrough(node *ast.SwitchStmt) bool {
	found := false
	ast.Inspect(node.Body, func(node ast.Node) bool {
		branch, ok := node.(*ast.BranchStmt)
		found = found || (ok && branch.Tok == token.FALLTHROUGH)
		return !found
	})
	return found
}

// clauseMatches tells whether a clause is taken, where the target decides it.
func clauseMatches(info *types.Info, tag ast.Expr, clause *ast.CaseClause) (matches, known bool) {
	known = true
	for _, expression := range clause.List {
		one, oneKnown := caseMatches(info, tag, expression)
		if oneKnown && one {
			return true, true
		}
		known = known && oneKnown
	}
	return false, known
}

func caseMatches(info *types.Info, tag, expression ast.Expr) (matches, known bool) {
	if tag == nil {
		return condition(info, expression)
	}
	a, b := info.Types[tag].Value, info.Types[expression].Value
	if a == nil || b == nil || a.Kind() != b.Kind() {
		return false, false
	}
	return constant.Compare(a, token.EQL, b), true
}
