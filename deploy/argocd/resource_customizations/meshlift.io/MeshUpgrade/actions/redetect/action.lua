local os = require("os")
if obj.metadata.annotations == nil then
  obj.metadata.annotations = {}
end
obj.metadata.annotations["meshlift.io/redetect"] = os.date("!%Y-%m-%dT%H:%M:%SZ")
return obj
