module example.org/execguard

go 1.25.0
