module example.org/litmus

go 1.26
