module buildmatrix.invalid/finder

go 1.21
