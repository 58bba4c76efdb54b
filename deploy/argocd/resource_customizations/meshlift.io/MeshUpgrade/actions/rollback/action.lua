obj.spec.requestRollback = true
return obj
