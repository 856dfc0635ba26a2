module egressway.test/lab-tool

go 1.26.0
