-- Where the room stands: its epoch, first offset, head and lineage.
local room = standing()
if not room then
  return false
end
return {room.epoch, room.first, room.head, room.lineage}
