-- The group keeps the value that it has: the original one is not put back.
if obj.metadata.annotations == nil then
  obj.metadata.annotations = {}
end
obj.metadata.annotations["ecs.alibabacloud.com/abandon"] = "true"
return obj
