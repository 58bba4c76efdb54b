local approvals = obj.spec.approvals or {}
local approved = {}
for _, name in ipairs(approvals) do
  approved[name] = true
end
local waves = obj.status ~= nil and obj.status.waves or {}
for _, wave in ipairs(waves) do
  -- Each name once: spec.approvals is a set, and the API server refuses one that has a name twice.
  if wave.state == "WaitingForApproval" and not approved[wave.name] then
    table.insert(approvals, wave.name)
  end
end
obj.spec.approvals = approvals
return obj
