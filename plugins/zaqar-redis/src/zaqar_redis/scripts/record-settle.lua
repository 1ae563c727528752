-- Returns whether the space is settled, and how many records are gone.
local settled, gone = settle()
return { settled and 1 or 0, gone }
