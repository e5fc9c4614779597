module lameduck/compare

go 1.19
