return { name = "not_lua", 
