return describe(load())
