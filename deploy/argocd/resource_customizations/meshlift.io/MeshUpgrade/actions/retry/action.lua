local os = require("os")
if obj.metadata.annotations == nil then
  obj.metadata.annotations = {}
end
obj.metadata.annotations["meshlift.io/retry"] = os.date("!%Y-%m-%dT%H:%M:%SZ")
-- With the request still there, the next run would stop before it begins.
if obj.spec.requestRollback then
  obj.spec.requestRollback = false
end
return obj
